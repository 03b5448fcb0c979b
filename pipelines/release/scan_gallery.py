"""Rank the right answers of queries in a stored gallery, tile by tile, on Ray workers.

Vectors of a tile are read once for all directions into the gallery. Results are counts and result
lists, so memory is bounded by the queries, not by the gallery.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.pool.ray_cluster import cluster, resolved_address
from pipelines.engine.ray_tasks import results_in_order
from pipelines.release.query_sets import (
    CORRECTED,
    RAW,
    UNBIASED,
    QuerySet,
    item_keys,
)
from store.arrow import as_matrix
from store.corrections.kernels.threads import one_blas_thread
from store.corrections.rank_tally import Tally, TallyCount
from store.search.vector_layout import unfold
from store.tables.table_version import TableVersion, take_rows

DEPTH = 20  # length of the lists: K, and as many items that may be removed before a new scan
_TILE = 4096  # items of one product
_TASK = 32 * _TILE  # items of a task
# Scores that are computed in this process, in 5 to 9 s, which workers of a local Ray take to start.
_SMALL = 1_000_000_000
_SMALL_BESIDE_CLUSTER = 200_000_000  # the same, if corpus.yaml or RAY_ADDRESS names a cluster

Gallery: TypeAlias = lance.LanceDataset | TableVersion
Tallies = list[dict[str, Tally]]  # of each set of queries, by ranking


def opened(gallery: Gallery) -> lance.LanceDataset:
    """The table of a gallery, which may be given open."""
    return gallery.open() if isinstance(gallery, TableVersion) else gallery


@dataclass(frozen=True)
class _Rows:
    """Rows of a gallery: consecutive rows of a fragment, or rows by their ids."""

    gallery: Gallery
    count: int
    fragment: int = -1
    offset: int = 0
    ids: np.ndarray | None = None

    def tiles(self, columns: list[str]) -> Iterator[pa.Table]:
        """The rows with some columns, a tile at a time."""
        dataset = opened(self.gallery)
        if self.ids is not None:
            for start in range(0, self.count, _TILE):
                yield take_rows(dataset, self.ids[start : start + _TILE].tolist(), columns)
            return
        fragment = dataset.get_fragment(self.fragment)
        assert fragment is not None
        scanner = fragment.scanner(
            columns=columns, offset=self.offset, limit=self.count, batch_size=_TILE
        )
        for batch in scanner.to_batches():
            yield pa.Table.from_batches([batch])


@dataclass(frozen=True)
class Scan:
    """What is ranked in one gallery.

    Attributes:
        sets: the sets of queries, of bounded size.
        in_bank: the clusters that are not searched, by name of the direction.
        dim: of the space's vectors.
    """

    sets: Sequence[QuerySet]
    in_bank: Mapping[str, np.ndarray]
    dim: int

    def columns(self) -> list[str]:
        names = ["part_id", "cluster", "vector"]
        for direction in {s.direction.name: s.direction for s in self.sets}.values():
            if direction.method != "none":
                names += [f"bias_{direction.query}", f"hub_{direction.query}"]
                names += [f"vector_{direction.query}"] if direction.recipe.moves else []
        return names


def tally_gallery(
    gallery: Gallery, scan: Scan, address: str | None = None, rows: np.ndarray | None = None
) -> Tallies:
    """The tallies of each set of queries over a gallery.

    Args:
        gallery: the gallery.
        scan: what is ranked in it.
        address: of a Ray cluster (`embedders.pool.ray_cluster.cluster`).
        rows: the ids of the rows that are ranked. None: all rows.
    """
    tasks = list(_tasks(gallery) if rows is None else _tasks_of(gallery, rows))
    queries = sum(len(s.vectors) for s in scan.sets)
    if not tasks or not queries:
        return [
            {name: TallyCount(i, DEPTH).result() for name, i in s.items.items()} for s in scan.sets
        ]
    most = _SMALL if resolved_address(address) == "local" else _SMALL_BESIDE_CLUSTER
    if queries * sum(t.count for t in tasks) <= most:
        return _sum(results_in_order(_tally, scan, tasks, on_ray=False))
    with cluster(address):
        return _sum(results_in_order(_tally_on_one_thread, scan, tasks, on_ray=True))


def _tasks(gallery: Gallery) -> Iterator[_Rows]:
    for fragment in opened(gallery).get_fragments():
        rows = fragment.count_rows()
        for offset in range(0, rows, _TASK):
            count = min(_TASK, rows - offset)
            yield _Rows(gallery, count, fragment.fragment_id, offset)


def _tasks_of(gallery: Gallery, ids: np.ndarray) -> Iterator[_Rows]:
    for start in range(0, len(ids), _TASK):
        part = ids[start : start + _TASK]
        yield _Rows(gallery, len(part), ids=part)


def _sum(results: Iterator[Tallies]) -> Tallies:
    total = next(results)
    for tallies in results:
        total = [
            {name: a[name] + b[name] for name in a} for a, b in zip(total, tallies, strict=True)
        ]
    return total


def _tally_on_one_thread(scan: Scan, rows: _Rows) -> Tallies:
    with one_blas_thread():
        return _tally(scan, rows)


def _tally(scan: Scan, rows: _Rows) -> Tallies:
    counts = [{n: TallyCount(i, DEPTH) for n, i in s.items.items()} for s in scan.sets]
    in_bank = {name: pa.array(each, pa.string()) for name, each in scan.in_bank.items()}
    for tile in rows.tiles(scan.columns()):
        _add_tile(tile, scan, in_bank, counts)
    return [{n: count.result() for n, count in by_name.items()} for by_name in counts]


def _add_tile(
    batch: pa.Table,
    scan: Scan,
    in_bank: Mapping[str, pa.Array],
    counts: list[dict[str, TallyCount]],
) -> None:
    tiles: dict[str, _Tile] = {}
    for query_set, by_name in zip(scan.sets, counts, strict=True):
        direction = query_set.direction
        m, name = direction.query, direction.name
        if name not in tiles:
            tiles[name] = _Tile(batch, in_bank[name], scan.dim)
        tile, keys = tiles[name], tiles[name].keys
        if not len(keys):
            continue
        flags = np.zeros(len(keys), bool)
        if direction.method != "none":
            flags = tile.rows[f"hub_{m}"].to_numpy()
        scores = query_set.vectors @ tile.vectors("vector").T
        if CORRECTED in by_name:
            bias = tile.rows[f"bias_{m}"].to_numpy()
            moved = scores
            if direction.recipe.moves:
                moved = query_set.vectors @ tile.vectors(f"vector_{m}").T
            by_name[CORRECTED].add(moved - bias, keys, flags)
            if UNBIASED in by_name:
                by_name[UNBIASED].add(moved, keys, flags)
        by_name[RAW].add(scores, keys, flags)


class _Tile:
    """The items of a batch that are searched, in the order of their keys.

    Args:
        batch: rows of the gallery.
        in_bank: the clusters that are not searched.
        dim: of the space's vectors.
    """

    def __init__(self, batch: pa.Table, in_bank: pa.Array, dim: int):
        is_in_bank = pc.is_in(batch["cluster"], value_set=in_bank).to_numpy()
        numbers = np.flatnonzero(~is_in_bank)
        keys = item_keys(batch["part_id"].take(pa.array(numbers)))
        order = np.argsort(keys)
        self.keys = keys[order]
        self.rows = batch.take(pa.array(numbers[order]))
        self._dim = dim
        self._vectors: dict[str, np.ndarray] = {}

    def vectors(self, column: str) -> np.ndarray:
        """The unit rows (n, d) of a column."""
        if column not in self._vectors:
            self._vectors[column] = unfold(as_matrix(self.rows[column]), self._dim)
        return self._vectors[column]
