"""A training is a folder: how it is made, written and read."""
