"""The protocol between front-end and back-end: records, the two shared folders, errors, settings."""
