"""The Lance tables: names, schemas, stages, staging, and one file for each table with rules."""
