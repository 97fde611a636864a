"""Reads the output of workers, which is untrusted: scores, media packs, files."""
