"""Near-duplicate texts."""
