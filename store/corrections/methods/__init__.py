"""The correction methods, one per file: `METHOD` with its paper and formula."""
