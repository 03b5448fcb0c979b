"""The HTTP server of a corpus: `isotrope serve`."""
