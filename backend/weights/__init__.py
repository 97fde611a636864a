"""Installed weights: what is in the folder, and how it gets there."""
