"""Tiled matrix products of rows with a bank, and the running statistics computed from them."""
