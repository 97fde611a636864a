"""Upconv (Durall et al., 2019): its model card is README.md."""
