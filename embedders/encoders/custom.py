"""Custom encoders: `python:module:factory` calls the factory, which returns an `Encoder`.

Options of the spec are passed to the factory as keyword arguments.
"""

from importlib import import_module
from typing import Any


def make(name: str, **options: str) -> Any:
    module, _, factory = name.partition(":")
    return getattr(import_module(module), factory)(**options)
