"""A GRU over the level of a face's noise, trained by whoever uses it: its model card is README.md."""
