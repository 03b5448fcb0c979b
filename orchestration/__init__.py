"""Layer 5: Dagster's definitions, jobs, schedules and sensors, and the command line."""
