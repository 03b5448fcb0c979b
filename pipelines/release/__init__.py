"""The table `releases`: table versions that belong together, with their evaluation."""
