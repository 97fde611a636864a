"""GenD (Yermakov et al., 2026): its model card is README.md."""
