"""Meso-CNN, trained by the operator: its model card is README.md."""
