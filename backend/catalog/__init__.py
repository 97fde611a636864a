"""The detectors, the state of each, and how long each takes."""
