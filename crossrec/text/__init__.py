"""Texts in, vectors out, each text encoded once."""
