"""The metadata that Dagster's page shows of a materialised asset."""
