"""FerretNet (Liang et al., 2025): its model card is README.md."""
