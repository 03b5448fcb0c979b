"""The items of a gallery that an evaluation reads before the gallery is scanned.

They are the right answers of the test queries, so that a scan only counts, and random items. The
ids of a gallery are read once for all directions into it, and so are the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.banks.labelled_queries import Gallery
from pipelines.gallery.read_back import compiled, compiled_columns
from pipelines.release.query_sets import (
    CORRECTED,
    RAW,
    UNBIASED,
    QuerySet,
    item_keys,
    needs_unbiased,
)
from store.corrections import Correction
from store.corrections.rank_tally import NO_KEY, RankedItems
from store.metrics.retrieval import Relevant
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.table_version import take_rows

SAMPLE = 4096  # random items: those of the smallest part ids, which are hashes
_SELECTED = pa.schema([pa.field("part_id", pa.string()), pa.field("_rowid", pa.uint64())])


@dataclass(frozen=True)
class KnownItems:
    """The items of a gallery that an evaluation reads ahead of the scan.

    Attributes:
        gallery: the parts of the clusters and samples of the test queries, and random items;
            without those whose clusters are in the bank.
        correction: fitted to `gallery`.
        is_random: (n,) bool, the random items.
        in_bank: the clusters that are in the bank.
        searched: the number of items that are searched.
        left_out: the number of items whose clusters are in the bank.
    """

    gallery: Gallery
    correction: Correction
    is_random: np.ndarray
    in_bank: np.ndarray
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


def bank_clusters(banks: Banks, direction: Direction) -> np.ndarray:
    """The clusters that are in the bank of a direction, sorted."""
    splits = {("bank", direction.gallery), (banks.query_split(direction.query), direction.query)}
    rows = [banks.select(["cluster"], split=s, modality=m)["cluster"] for s, m in sorted(splits)]
    return np.unique(np.concatenate([each.to_numpy().astype(str) for each in rows]))


def read_known(
    dataset: lance.LanceDataset, banks: Banks, directions: Sequence[Direction], dim: int
) -> dict[str, KnownItems]:
    """Read the items of a gallery that the evaluation of its directions refers to.

    Args:
        dataset: the gallery.
        banks: the banks of the space.
        directions: into this gallery.
        dim: of the space's vectors.

    Returns:
        The items by name of the direction.
    """
    in_bank = {d.name: bank_clusters(banks, d) for d in directions}
    # Directions usually have the same clusters in their banks.
    selections = {clusters.tobytes(): _Selection(clusters) for clusters in in_bank.values()}
    test = banks.select(["cluster", "part_id"], split="test")
    clusters, parts = (pc.unique(test[c].combine_chunks()) for c in ("cluster", "part_id"))
    for batch in dataset.scanner(columns=["part_id", "cluster"], with_row_id=True).to_batches():
        is_labelled = pc.or_(
            pc.is_in(batch["cluster"], value_set=clusters),
            pc.is_in(batch["part_id"], value_set=parts),
        )
        for selection in selections.values():
            selection.add(batch, is_labelled)
    selected = [selection.items() for selection in selections.values()]
    rows = np.unique(np.concatenate([each["_rowid"].to_numpy() for each in selected]))
    columns = dict.fromkeys(c for d in directions for c in compiled_columns(d))
    table = take_rows(dataset, rows.tolist(), list(columns)).sort_by("part_id")
    known = {}
    for direction in directions:
        selection = selections[in_bank[direction.name].tobytes()]
        is_own = pc.is_in(table["part_id"], value_set=selection.items()["part_id"])
        own = table if len(selections) == 1 else table.filter(is_own)
        known[direction.name] = selection.known(*compiled(own, direction, dim))
    return known


def smallest_parts(
    smallest: pa.RecordBatch, more: pa.RecordBatch, is_candidate: pa.BooleanArray, count: int
) -> pa.RecordBatch:
    """The `count` rows with the smallest part ids of some rows and of the smallest ones before.

    Args:
        smallest: the rows before, in the order of `part_id`.
        more: rows with the same columns.
        is_candidate: (n,) which of `more` count.
        count: how many rows are kept.
    """
    if smallest.num_rows == count:  # most parts are larger than all of these
        is_candidate = pc.and_(is_candidate, pc.less(more["part_id"], smallest["part_id"][-1]))
    candidates = more.filter(is_candidate)
    if not candidates.num_rows:
        return smallest
    return pa.concat_batches([smallest, candidates]).sort_by("part_id").slice(0, count)


class _Selection:
    """Selects the items that are read for directions whose banks have the same clusters.

    Args:
        in_bank: the clusters, which are not searched.
    """

    def __init__(self, in_bank: np.ndarray):
        self._in_bank = in_bank
        self._value_set = pa.array(in_bank, pa.string())
        self._labelled: list[pa.RecordBatch] = []
        self._smallest = pa.RecordBatch.from_pylist([], schema=_SELECTED)
        self._searched = self._left_out = 0

    def add(self, batch: pa.RecordBatch, is_labelled: pa.BooleanArray) -> None:
        """Select from a batch of the gallery with `part_id`, `cluster` and `_rowid`."""
        is_unseen = pc.invert(pc.is_in(batch["cluster"], value_set=self._value_set))
        self._searched += is_unseen.true_count
        self._left_out += is_unseen.false_count
        columns = [batch[name] for name in _SELECTED.names]
        items = pa.RecordBatch.from_arrays(columns, schema=_SELECTED)
        self._labelled.append(items.filter(pc.and_(is_unseen, is_labelled)))
        self._smallest = smallest_parts(self._smallest, items, is_unseen, SAMPLE)

    def items(self) -> pa.Table:
        """`part_id` and `_rowid` of the items, which may repeat."""
        return pa.Table.from_batches([*self._labelled, self._smallest], _SELECTED)

    def known(self, gallery: Gallery, correction: Correction) -> KnownItems:
        """The items of a direction.

        Args:
            gallery: the items that are selected.
            correction: fitted to them.
        """
        smallest = self._smallest["part_id"]
        is_random = pc.is_in(pa.array(gallery.parts), value_set=smallest)
        return KnownItems(
            gallery,
            correction,
            is_random.to_numpy(zero_copy_only=False),
            self._in_bank,
            self._searched,
            self._left_out,
        )
