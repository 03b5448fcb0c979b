"""Layer 4: Dagster assets and checks. An asset calls one pipeline and reports on its table."""
