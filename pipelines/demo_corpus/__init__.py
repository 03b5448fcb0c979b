"""The demonstration corpus, built from packages."""
