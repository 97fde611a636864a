"""Xception of FaceForensics++ as a detector, and the converter of its published files."""
