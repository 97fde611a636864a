"""3-D convolutions over the noise of a face, trained by the operator: its model card is README.md."""
