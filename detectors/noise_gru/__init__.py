"""A GRU over the level of a face's noise, trained by the operator: its model card is README.md."""
