"""The queries that a stored gallery is evaluated with, and the scores of their right answers.

The right answers are read from the gallery before it is scanned, so that a scan only counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.banks.labelled_queries import Gallery
from pipelines.gallery.read_back import read_compiled
from store import identity
from store.corrections import Correction
from store.corrections.rank_tally import NO_KEY, RankedItems
from store.metrics.retrieval import Relevant
from store.tables.banks import Banks
from store.tables.direction import Direction

RAW, CORRECTED, UNBIASED = "raw", "corrected", "unbiased"
K = 10  # length of the result lists that k-occurrence is counted in
SAMPLE = 4096  # random items: those of the smallest part ids, which are hashes
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


@dataclass(frozen=True)
class KnownItems:
    """The items of a gallery that an evaluation reads ahead of the scan.

    Attributes:
        gallery: the parts of the clusters and samples of the test queries, and random items;
            without those whose clusters are in the bank.
        correction: fitted to `gallery`.
        is_random: (n,) bool, the random items.
        searched: the number of items that are searched.
        left_out: the number of items whose clusters are in the bank.
    """

    gallery: Gallery
    correction: Correction
    is_random: np.ndarray
    searched: int
    left_out: int

    def query_set(
        self, direction: Direction, vectors: np.ndarray, relevant: Relevant, own_rows: np.ndarray
    ) -> QuerySet:
        """A set of queries.

        Args:
            direction: that is evaluated.
            vectors: (m, d) unit rows.
            relevant: rows of `gallery`.
            own_rows: (m,) the row of `gallery` that a query's ranking does not have; -1 if none.
        """
        keys = item_keys(pa.array(self.gallery.parts))
        excluded = np.where(own_rows >= 0, keys[own_rows], NO_KEY)
        queries = vectors[relevant.query]

        def items(rows: np.ndarray, bias: np.ndarray | None) -> RankedItems:
            scores = np.einsum("rd,rd->r", queries, rows[relevant.rows])
            if bias is not None:
                scores = scores - bias[relevant.rows]
            return RankedItems(relevant, scores, keys[relevant.rows], excluded)

        c = self.correction
        by_name = {RAW: items(self.gallery.vectors, None)}
        if direction.method != "none":
            by_name[CORRECTED] = items(c.vectors, c.bias)
        if needs_unbiased(direction):
            by_name[UNBIASED] = items(c.vectors, None)
        return QuerySet(direction, vectors, by_name)


def needs_unbiased(direction: Direction) -> bool:
    """Whether the ranking of moved vectors without the bias is needed."""
    return direction.recipe.dynamic and direction.recipe.moves and direction.method != "none"


def bank_clusters(banks: Banks, direction: Direction) -> np.ndarray:
    """The clusters that are in the bank of a direction."""
    return np.unique(
        np.concatenate(
            [banks.items(direction.gallery).clusters, banks.queries(direction.query).clusters]
        )
    )


def smallest_parts(smallest: pa.Array, parts: pa.Array, count: int) -> pa.Array:
    """The `count` smallest of some part ids and of the smallest ones before, ascending."""
    if len(smallest) == count:  # most parts are larger than all of these
        parts = parts.filter(pc.less(parts, smallest[-1]))
    candidates = pa.concat_arrays([smallest, parts])
    return candidates.take(pc.array_sort_indices(candidates).slice(0, count))


def read_known(
    dataset: lance.LanceDataset, banks: Banks, direction: Direction, dim: int
) -> KnownItems:
    """Read the items of a gallery that the evaluation of a direction refers to.

    Args:
        dataset: the gallery.
        banks: the banks of the space.
        direction: into this gallery.
        dim: of the space's vectors.
    """
    in_bank = pa.array(bank_clusters(banks, direction))
    test = banks.select(["cluster", "part_id"], split="test")
    clusters, parts = (pc.unique(test[c].combine_chunks()) for c in ("cluster", "part_id"))
    labelled = pa.array([], pa.string())
    smallest = pa.array([], pa.string())
    searched = left_out = 0
    for batch in dataset.to_batches(columns=["part_id", "cluster"]):
        is_unseen = pc.invert(pc.is_in(batch["cluster"], value_set=in_bank))
        unseen = batch.filter(is_unseen)
        searched += unseen.num_rows
        left_out += batch.num_rows - unseen.num_rows
        is_labelled = pc.or_(
            pc.is_in(unseen["cluster"], value_set=clusters),
            pc.is_in(unseen["part_id"], value_set=parts),
        )
        labelled = pa.concat_arrays([labelled, unseen["part_id"].filter(is_labelled)])
        smallest = smallest_parts(smallest, unseen["part_id"], SAMPLE)
    gallery, correction = read_compiled(
        dataset, direction, dim, pc.unique(pa.concat_arrays([labelled, smallest]))
    )
    is_random = pc.is_in(pa.array(gallery.parts), value_set=smallest)
    return KnownItems(
        gallery, correction, is_random.to_numpy(zero_copy_only=False), searched, left_out
    )
