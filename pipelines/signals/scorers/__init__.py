"""The scorers, one in each file. `store/tables/signals.py` declares their columns and versions."""
