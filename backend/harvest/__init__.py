"""What workers wrote, taken as untrusted: scores, media packs, files."""
