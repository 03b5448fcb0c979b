"""Apply a policy to the signals of samples, in memory or in files; no table is written."""
