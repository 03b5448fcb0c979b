"""pairs: how well the parts of every sample fit each other, in the corpus's space."""
