"""The table `pairs__{space}`: how well the parts of each sample fit each other in a space."""
