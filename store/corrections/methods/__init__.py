"""The correction methods, one file each."""
