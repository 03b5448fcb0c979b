"""One's own encoder: `python:module:factory`, which takes the options and gives an Encoder."""

from importlib import import_module
from typing import Any


def make(name: str, **options: str) -> Any:
    module, _, factory = name.partition(":")
    return getattr(import_module(module), factory)(**options)
