"""Indexes the galleries, and chooses how search probes the indexes."""
