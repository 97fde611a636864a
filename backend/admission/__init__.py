"""How a new detector comes in: the template it starts from, and the check it must pass."""
