"""MesoNet (Afchar et al., 2018): its model card is README.md."""
