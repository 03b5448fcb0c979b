"""k-occurrence: the scan that finds the floors counts as a comparison with the floors does."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.gallery.fit import VectorRows
from pipelines.gallery.k_occurrence import CountedQueries, K, count_occurrence, with_floors
from store.arrow import vector_column
from store.tables.lance_tables import Tables
from store.tables.table_version import TableVersion

ROWS, DIM, QUERIES = 300, 8, 40


def _unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _tiles(folder: Path, vectors: np.ndarray, clusters: np.ndarray) -> list[VectorRows]:
    """The vectors in a table, in tiles whose rows are in another order than the table's."""
    tables = Tables(folder)
    rows = pa.table({"vector": vector_column(vectors)})
    tables.replace("vectors", rows.schema, rows.to_batches(), None)
    table = TableVersion(tables, "vectors", tables.version("vectors"))
    order = np.random.default_rng(5).permutation(len(vectors)).astype(np.uint64)
    return [VectorRows(table, ids, clusters[ids]) for ids in np.array_split(order, 7)]


@pytest.mark.parametrize("within_modality", [False, True])
@pytest.mark.parametrize("equal", [0, 12, 200], ids=["distinct", "few equal", "many equal"])
def test_items_are_counted_as_by_the_floors(
    tmp_path: Path, equal: int, within_modality: bool
) -> None:
    rng = np.random.default_rng(2)
    vectors = _unit(rng, ROWS)
    vectors[:equal] = vectors[0]
    clusters = np.array([f"cluster {i // 2}" for i in range(ROWS)])
    own = clusters[:QUERIES] if within_modality else None
    queries = CountedQueries(np.concatenate([vectors[: QUERIES - 10], _unit(rng, 10)]), own)
    tiles = _tiles(tmp_path, vectors, clusters)
    counted = with_floors(tiles, {"image": queries}, on_ray=False)["image"]
    assert (counted.nearest is None) == (equal == 200)  # too many items score as the K-th best
    ids = np.arange(ROWS, dtype=np.uint64)
    counts = count_occurrence(vectors, clusters, ids, counted)
    by_floors = count_occurrence(vectors, clusters, ids, counted._replace(nearest=None))
    scores = queries.vectors @ vectors.T
    if own is not None:
        scores[own[:, None] == clusters] = -np.inf
    assert counted.floor == pytest.approx(np.sort(scores, axis=1)[:, -K])
    assert counts.tolist() == by_floors.tolist()
    assert counts.sum() >= K * QUERIES


def test_queries_of_a_small_gallery_count_all_items(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    vectors, clusters = _unit(rng, K - 3), np.array([f"cluster {i}" for i in range(K - 3)])
    tiles = _tiles(tmp_path, vectors, clusters)
    queries = CountedQueries(_unit(rng, QUERIES), None)
    counted = with_floors(tiles, {"text": queries}, on_ray=False)["text"]
    ids = np.arange(len(vectors), dtype=np.uint64)
    assert set(count_occurrence(vectors, clusters, ids, counted).tolist()) == {QUERIES}
