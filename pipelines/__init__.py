"""Floor 3: how tables are made. Beam pipelines (CPU and shuffle) and Ray jobs (models)."""
