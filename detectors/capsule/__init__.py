"""Capsule-Forensics v2 (Nguyen et al., 2019): its model card is README.md."""
