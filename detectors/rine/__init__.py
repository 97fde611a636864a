"""RINE (Koutlis and Papadopoulos, 2024): its model card is README.md."""
