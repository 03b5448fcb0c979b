"""Planted spaces: random pairs in which a correction helps, does nothing or harms by construction.

An item is its content, noise, and a share of a common direction. Its captions are the same content
with noise of their own, and another share of that direction.

- `helps`: queries contain the direction, and some items have more of it than others: hubs.
- `nothing`: neither contains it.
- `harms`: some items have more of it than others, which the queries to come do not contain; those
  of the bank do. So the bank lowers the wrong items.
"""

from typing import NamedTuple

import numpy as np

from tests.helpers import dense

DIMS = 24


class Kind(NamedTuple):
    """The spread of the direction among items, and its share in queries and in bank queries."""

    spread: float
    of_queries: float
    of_bank: float


KINDS = {
    "helps": Kind(0.6, 1.0, 1.0),
    "nothing": Kind(0.0, 0.0, 0.0),
    "harms": Kind(0.6, 0.0, 1.0),
}


class Pairs(NamedTuple):
    """n items, and of each a query and another caption, which may be in the bank; all (n, d)."""

    items: np.ndarray
    queries: np.ndarray
    captions: np.ndarray


def draw(kind: str, rng: np.random.Generator, rows: int, noise: float = 0.7) -> Pairs:
    """Draw pairs of a planted space. The common direction is the same for all draws."""
    spread, of_queries, of_bank = KINDS[kind]
    direction = np.eye(DIMS)[0] * np.sqrt(DIMS)
    content = rng.normal(size=(rows, DIMS))

    def view(share: np.ndarray | float) -> np.ndarray:
        noisy = content + noise * rng.normal(size=(rows, DIMS)) + share * direction
        return dense.norm(noisy).astype(np.float32)

    return Pairs(view(spread * rng.exponential(size=(rows, 1))), view(of_queries), view(of_bank))
