"""Self-blend traces: the detector trained here, shipped with its weights; its model card is README.md."""
