"""Checks the numbers that options of queries take."""

from typing import Any

import numpy as np

from store.errors import InputError


def whole(name: str, value: Any, low: int, high: int) -> int:
    """A whole number in a range. Raises InputError, with the option's name, for other values."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name}({value!r}): expected a whole number from {low} to {high}")
    return value


def number(name: str, value: Any, above: float, most: float) -> float:
    """A finite number in a range. Raises InputError, with the option's name, for other values."""
    if isinstance(value, bool | str | bytes) or not isinstance(value, int | float | np.number):
        raise InputError(f"{name}({value!r}): expected a number")
    given = float(value)
    if not np.isfinite(given) or not above < given <= most:
        raise InputError(f"{name}({value!r}): expected a finite number above {above} up to {most}")
    return given
