"""The table `decisions`: which samples are kept."""
