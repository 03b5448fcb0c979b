"""Layer 1: configuration, tables, releases, corrections, metrics, and search.

It imports no other package of isotrope, and neither Ray, Beam, Dagster nor torch, so that a query
client starts fast.
"""

import os

# Lance reads this once, when it is imported for the first time.
os.environ.setdefault("LANCE_LOG", "error")
