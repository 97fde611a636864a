"""Self-blend traces: our own detector, shipped with its weights; its model card is README.md."""
