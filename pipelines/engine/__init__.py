"""How work is run: Beam, Ray tasks, DuckDB, crash markers. Knows no table."""
