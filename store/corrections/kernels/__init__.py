"""Tiled matrix products and what they need."""
