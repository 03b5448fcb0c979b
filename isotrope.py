"""The public face."""

from store import errors

__all__ = ["errors"]
