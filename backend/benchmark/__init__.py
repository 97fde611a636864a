"""Labelled data sets: how good detectors are on them, with intervals, and how they hold up when files are damaged."""
