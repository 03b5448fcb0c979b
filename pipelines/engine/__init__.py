"""How work is run: Beam, Ray tasks, DuckDB, crash markers. Reads and writes no table by name."""
