"""The commands: analyze, detectors, weights, and how they look on a terminal. Imported by the composition root only."""
