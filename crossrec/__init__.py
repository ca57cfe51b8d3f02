"""crossrec: cross-domain recommendation that people can see, try and trust."""

__version__ = "0.1.0"
