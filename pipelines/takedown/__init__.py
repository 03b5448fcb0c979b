"""Takedown: removes content from every table, release, cache and page of a corpus."""
