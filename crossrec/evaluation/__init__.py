"""Per-user metrics, the protocol that fills them, and paired comparisons."""
