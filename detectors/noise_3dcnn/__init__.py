"""3-D convolutions over the noise of a face, trained by whoever uses it: its model card is README.md."""
