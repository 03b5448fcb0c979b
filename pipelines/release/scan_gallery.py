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
import ray

from embedders.pool.ray_cluster import cluster
from pipelines.engine.ray_tasks import ordered_results
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
from store.tables.table_version import TableVersion

K = 10  # length of the result lists that k-occurrence is counted in
_TILE = 4096  # items of one product
_TASK = 32 * _TILE  # items of a task
# Scores that are computed in this process, in about 6 s. Ray's workers take as long to start.
_SMALL = 500_000_000

Gallery: TypeAlias = lance.LanceDataset | TableVersion
Tallies = list[dict[str, Tally]]  # of each set of queries, by ranking


def opened(gallery: Gallery) -> lance.LanceDataset:
    """The table of a gallery, which may be given open."""
    return gallery.open() if isinstance(gallery, TableVersion) else gallery


@dataclass(frozen=True)
class _Rows:
    """Rows of a fragment of a gallery."""

    gallery: Gallery
    fragment: int
    offset: int
    count: int


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


def tally_gallery(gallery: Gallery, scan: Scan, address: str | None = None) -> Tallies:
    """The tallies of each set of queries over the whole gallery.

    Args:
        gallery: the gallery.
        scan: what is ranked in it.
        address: of a Ray cluster (`embedders.pool.ray_cluster.cluster`).
    """
    tasks = list(_tasks(gallery))
    queries = sum(len(s.vectors) for s in scan.sets)
    if not tasks or not queries:
        return [{name: TallyCount(i, K).result() for name, i in s.items.items()} for s in scan.sets]
    if queries * sum(t.count for t in tasks) <= _SMALL:
        return _sum(_tally(rows, scan) for rows in tasks)
    with cluster(address):
        shared = ray.put(scan)
        return _sum(ordered_results(_remote_tally.remote(rows, shared) for rows in tasks))


def _tasks(gallery: Gallery) -> Iterator[_Rows]:
    for fragment in opened(gallery).get_fragments():
        rows = fragment.count_rows()
        for offset in range(0, rows, _TASK):
            count = min(_TASK, rows - offset)
            yield _Rows(gallery, fragment.fragment_id, offset, count)


def _sum(results: Iterator[Tallies]) -> Tallies:
    total = next(results)
    for tallies in results:
        total = [
            {name: a[name] + b[name] for name in a} for a, b in zip(total, tallies, strict=True)
        ]
    return total


@ray.remote
def _remote_tally(rows: _Rows, scan: Scan) -> Tallies:
    with one_blas_thread():
        return _tally(rows, scan)


def _tally(rows: _Rows, scan: Scan) -> Tallies:
    fragment = opened(rows.gallery).get_fragment(rows.fragment)
    assert fragment is not None
    scanner = fragment.scanner(
        columns=scan.columns(), offset=rows.offset, limit=rows.count, batch_size=_TILE
    )
    counts = [{n: TallyCount(i, K) for n, i in s.items.items()} for s in scan.sets]
    for batch in scanner.to_batches():
        _add_tile(pa.Table.from_batches([batch]), scan, counts)
    return [{n: count.result() for n, count in by_name.items()} for by_name in counts]


def _add_tile(batch: pa.Table, scan: Scan, counts: list[dict[str, TallyCount]]) -> None:
    tiles: dict[str, tuple[np.ndarray, pa.Table]] = {}
    for query_set, by_name in zip(scan.sets, counts, strict=True):
        direction = query_set.direction
        m, name = direction.query, direction.name
        if name not in tiles:
            in_bank = pa.array(scan.in_bank[name], pa.string())
            tile = batch.filter(pc.invert(pc.is_in(batch["cluster"], value_set=in_bank)))
            keys = item_keys(tile["part_id"])
            order = np.argsort(keys)
            tiles[name] = keys[order], tile.take(pa.array(order))
        keys, tile = tiles[name]
        if not len(keys):
            continue
        flags = np.zeros(len(keys), bool)
        if direction.method != "none":
            flags = tile[f"hub_{m}"].to_numpy()
        scores = query_set.vectors @ _vectors(tile, "vector", scan.dim).T
        if CORRECTED in by_name:
            bias = tile[f"bias_{m}"].to_numpy()
            moved = scores
            if direction.recipe.moves:
                moved = query_set.vectors @ _vectors(tile, f"vector_{m}", scan.dim).T
            by_name[CORRECTED].add(moved - bias, keys, flags)
            if UNBIASED in by_name:
                by_name[UNBIASED].add(moved, keys, flags)
        by_name[RAW].add(scores, keys, flags)


def _vectors(tile: pa.Table, column: str, dim: int) -> np.ndarray:
    return unfold(as_matrix(tile[column]), dim)
