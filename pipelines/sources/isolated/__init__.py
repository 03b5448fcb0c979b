"""Parsers of whole files run in child processes with limits, since hostile files can crash them."""
