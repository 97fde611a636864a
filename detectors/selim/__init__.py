"""Selim Seferbekov's DFDC ensemble (2020): its model card is README.md."""
