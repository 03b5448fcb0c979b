"""What Dagster's page shows of a materialisation."""
