"""The demonstration corpus, built from Debian or Python packages."""
