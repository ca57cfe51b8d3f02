"""Reviews in, integer sequences out."""
