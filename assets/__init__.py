"""Floor 4: what exists. Dagster assets and checks; each calls one pipeline and reports on it."""
