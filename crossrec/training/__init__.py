"""Batches, recipes and the one training loop."""
