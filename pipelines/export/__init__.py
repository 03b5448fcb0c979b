"""export: the samples that the decisions keep, as files for others to read."""
