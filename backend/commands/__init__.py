"""What the command line does: analyze, detectors, weights, and how it looks on a terminal. Imported by the composition root only."""
