"""The queries that a stored gallery is evaluated with, and the scores of their right answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from store import identity
from store.corrections.rank_tally import RankedItems
from store.tables.direction import Direction

RAW, CORRECTED, UNBIASED = "raw", "corrected", "unbiased"
K = 10  # length of the result lists that k-occurrence is counted in
DIGEST_BYTES = 16
_QUERIES = 1024  # of a set: with a tile of 4,096 items, 16 MB of scores


def item_keys(parts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The keys of items, (n,) uint64: the first half of their part ids."""
    parts = parts.combine_chunks() if isinstance(parts, pa.ChunkedArray) else parts
    return identity.id_words(identity.pack_ids(parts))[:, 0].astype(np.uint64)


@dataclass(frozen=True)
class QuerySet:
    """Queries of one direction, with their right answers.

    Attributes:
        direction: that is evaluated.
        vectors: (m, d) unit rows.
        items: their right answers, by ranking: `RAW`, and `CORRECTED` if the direction has a
            correction. `UNBIASED`, if the correction is dynamic and moves vectors, ranks moved
            vectors without the bias.
    """

    direction: Direction
    vectors: np.ndarray
    items: Mapping[str, RankedItems]

    def parts(self) -> list["QuerySet"]:
        """The same queries in sets of bounded size."""
        return [
            QuerySet(
                self.direction,
                self.vectors[start : start + _QUERIES],
                {name: items.part(start, start + _QUERIES) for name, items in self.items.items()},
            )
            for start in range(0, len(self.vectors), _QUERIES)
        ]

    def take(self, queries: np.ndarray) -> "QuerySet":
        """Some of the queries, by their numbers."""
        items = {name: items.take(queries) for name, items in self.items.items()}
        return QuerySet(self.direction, self.vectors[queries], items)

    def digests(self, ranking: str) -> list[bytes]:
        """A hash of each query: its vector, its right answers and their scores in a ranking."""
        items = self.items[ranking]
        ends = np.cumsum(items.relevant.count)
        return [
            blake2b(
                b"".join(
                    part.tobytes()
                    for part in (
                        vector,
                        items.excluded[i : i + 1],
                        items.keys[end - count : end],
                        items.scores[end - count : end],
                    )
                ),
                digest_size=DIGEST_BYTES,
            ).digest()
            for i, (vector, end, count) in enumerate(
                zip(self.vectors, ends, items.relevant.count, strict=True)
            )
        ]


def needs_unbiased(direction: Direction) -> bool:
    """Whether the ranking of moved vectors without the bias is needed."""
    return direction.recipe.dynamic and direction.recipe.moves and direction.method != "none"
