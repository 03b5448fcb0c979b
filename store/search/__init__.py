"""Corrected search, from `connect` to rows."""
