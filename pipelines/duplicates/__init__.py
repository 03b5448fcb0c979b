"""The table `duplicates`: samples that another one represents, and contaminated samples."""
