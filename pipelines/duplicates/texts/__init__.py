"""Near-duplicate texts: MinHash candidates, verified by exact similarity and by words."""
