"""Estimates the time, disk and cost of a run."""
