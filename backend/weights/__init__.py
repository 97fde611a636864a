"""Installed weights: what lies in the folder, and how it gets there."""
