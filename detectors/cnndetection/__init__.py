"""CNNDetection (Wang et al., 2020): its model card is README.md."""
