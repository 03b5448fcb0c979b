"""Removes drops, and vectors of parts that no sample has any more."""
