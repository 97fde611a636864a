"""Meso-CNN, trained by whoever uses it: its model card is README.md."""
