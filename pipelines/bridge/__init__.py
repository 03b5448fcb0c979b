"""Bridges: search with a newer encoder what an older one embedded."""
