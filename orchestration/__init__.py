"""Floor 5: Dagster definitions, resources, jobs, schedules and sensors; the command line."""
