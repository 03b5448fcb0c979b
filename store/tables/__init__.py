"""The Lance tables: names, schemas, stages, staging, and one module for each table with rules."""
