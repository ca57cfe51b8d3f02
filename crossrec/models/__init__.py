"""Tensors in, scores out; one noun a file."""
