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


def families(rng: np.random.Generator, rows: int, members: int, detail: float = 0.3) -> np.ndarray:
    """(members, rows, d) contents: the members of a row are alike and differ in details."""
    return rng.normal(size=(rows, DIMS)) + detail * rng.normal(size=(members, rows, DIMS))


class Pairs(NamedTuple):
    """n items, and of each a query and another caption, which may be in the bank; all (n, d)."""

    items: np.ndarray
    queries: np.ndarray
    captions: np.ndarray


def draw(
    kind: str,
    rng: np.random.Generator,
    rows: int,
    noise: float = 0.7,
    content: np.ndarray | None = None,
) -> Pairs:
    """Draw pairs of a planted space. The common direction is the same for all draws.

    Args:
        content: (rows, d) of the items; random by default.
    """
    spread, of_queries, of_bank = KINDS[kind]
    direction = np.eye(DIMS)[0] * np.sqrt(DIMS)
    content = rng.normal(size=(rows, DIMS)) if content is None else content

    def view(share: np.ndarray | float) -> np.ndarray:
        noisy = content + noise * rng.normal(size=(rows, DIMS)) + share * direction
        return dense.norm(noisy).astype(np.float32)

    return Pairs(view(spread * rng.exponential(size=(rows, 1))), view(of_queries), view(of_bank))
