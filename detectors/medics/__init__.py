"""The Medics (fifth place of the DFDC, 2020): its model card is README.md."""
