"""BOKEN, first of the DeeperForensics Challenge 2020: its model card is README.md."""
