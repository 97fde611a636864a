"""Deepware Scanner (2020): its model card is README.md."""
