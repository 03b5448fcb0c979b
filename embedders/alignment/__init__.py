"""Learned projections between encoders."""
