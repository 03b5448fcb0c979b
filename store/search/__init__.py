"""Corrected search: from opening a corpus to the rows of a result."""
