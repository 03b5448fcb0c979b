"""Floor 1: tables, commits, releases, the mathematics of corrections, and search.

Imports nothing of ours, and neither Ray nor Beam nor Dagster nor torch: a query client is light.
"""

import os

# Read when Lance is imported for the first time, wherever that is.
os.environ.setdefault("LANCE_LOG", "error")
