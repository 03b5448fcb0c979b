"""export: writes the samples that the decisions keep, as files for other programs."""
