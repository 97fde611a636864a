"""Community Forensics (Park and Owens, 2025): its model card is README.md."""
