"""How a new detector is admitted: the template it starts from, and the check it must pass."""
