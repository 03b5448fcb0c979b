"""The import path that other processes get, so that they can import a user's own encoder."""

import sys


def python_path() -> str:
    """The import path of this process, as the value of PYTHONPATH."""
    return ":".join(p for p in sys.path if p)
