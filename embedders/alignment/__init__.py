"""Alignment: learn the projections that bring frozen encoders into one space."""
