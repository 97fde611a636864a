"""The ensemble of the MeVer service (Baxevanakis et al., 2022): its model card is README.md."""
