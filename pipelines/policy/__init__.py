"""Apply a policy to the signals of samples: columns in memory, nothing is written."""
