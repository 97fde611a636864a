"""AASIST (Jung et al., 2022): its model card is README.md."""
