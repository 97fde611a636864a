"""Which detectors there are, in which state each is, and how long each takes."""
