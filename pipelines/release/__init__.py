"""The table `releases`: table versions that belong together, evaluated."""
