"""UnivFD (Ojha et al., 2023): its model card is README.md."""
