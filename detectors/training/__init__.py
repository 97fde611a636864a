"""Training of the detectors that ship their own weights (guide: docs/training.md); no detector imports it at run time."""
