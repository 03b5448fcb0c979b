"""A gallery as points in the plane, each with its k-occurrence before and after the correction.

The plane is that of the first two principal components of the vectors. Clusters are those of
spherical k-means (`store.search.map_clusters`). k-occurrence is counted
among the points of the map: in how many top tens of the bank's queries a point is (Radovanovic,
Nanopoulos and Ivanovic 2010, "Hubs in space", JMLR 11). Large galleries are sampled.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.arrow import as_matrix
from store.search import map_clusters
from store.search.column_plan import vector_column
from store.search.opened import OpenRelease
from store.search.vector_layout import query_vector, unfold
from store.tables.banks import Bank
from store.tables.damage import detected
from store.tables.direction import Direction

MOST_POINTS = 20_000
_MOST_QUERIES = 1_000  # as in pipelines/gallery/k_occurrence.py
_K = 10
_TILE = 100  # queries whose scores are in memory at once
_NAMING = 200  # captions of a cluster that are read for its name
_DIGITS = 4  # of coordinates
_TINY = 1e-300
_maps: WeakKeyDictionary[OpenRelease, dict[tuple[str, str, int], "CorpusMap"]] = WeakKeyDictionary()


@dataclass(frozen=True)
class CorpusMap:
    """A gallery as points. All lists have one value a point.

    Attributes:
        release: its number.
        gallery: its modality.
        queries: the modality of the queries that k-occurrence is counted with.
        method: the correction of this direction.
        rows: of the gallery.
        bank: how many queries were counted; 0 without a bank, and then all counts are 0.
        variance: the shares of the variance along both axes.
        part_ids: of the points.
        ids: of their samples.
        keys: of their samples.
        drops: the first drop that has the part.
        languages: of the captions.
        clusters: numbers of clusters by the vectors, from 0; cluster 0 is the largest one.
        cluster_names: one for each cluster: words of its captions.
        x: coordinates.
        y: coordinates.
        raw: k-occurrence by raw scores.
        corrected: k-occurrence by corrected scores.
    """

    release: int
    gallery: str
    queries: str
    method: str
    rows: int
    bank: int
    variance: tuple[float, float]
    part_ids: list[str]
    ids: list[str]
    keys: list[str]
    drops: list[str]
    languages: list[str | None]
    clusters: list[int]
    cluster_names: list[str]
    x: list[float]
    y: list[float]
    raw: list[int]
    corrected: list[int]


def corpus_map(
    opened: OpenRelease, gallery: str, queries: str, most: int = MOST_POINTS
) -> CorpusMap:
    """The map of a gallery. It is computed once for each opened release, and kept.

    Args:
        opened: the release.
        gallery: a modality.
        queries: the modality of the queries that k-occurrence is counted with.
        most: points. A larger gallery is sampled at random, always in the same way.

    Raises:
        InputError: the release has no such gallery.
    """
    opened.searched(gallery)
    kept = _maps.setdefault(opened, {})
    if (gallery, queries, most) not in kept:
        kept[gallery, queries, most] = _make_map(opened, gallery, queries, most)
    return kept[gallery, queries, most]


def _make_map(opened: OpenRelease, gallery: str, queries: str, most: int) -> CorpusMap:
    release = opened.release
    directions = {
        d.query: d
        for d in release.directions.values()
        if d.gallery == gallery and d.query == queries
    }
    moved = vector_column(queries, directions)
    columns = {"part_id", "id", "key", "drops", "cluster", "text_language", "vector", moved}
    total, numbers, rows = _sample(opened, gallery, sorted({*columns, f"hub_{queries}"}), most)
    vectors = unfold(as_matrix(rows["vector"]), release.dim)
    places, variance = project(vectors)
    clusters = map_clusters.cluster(vectors)
    cluster_names = _name_clusters(opened, gallery, numbers, clusters)
    x, y = (places[:, i].round(_DIGITS).tolist() for i in range(2))
    bank = opened.banks.queries(queries)
    raw, corrected = _occurrences(rows, bank, directions.get(queries), gallery == queries)
    return CorpusMap(
        release.number,
        gallery,
        queries,
        directions[queries].method if queries in directions else "none",
        total,
        min(len(bank.vectors), _MOST_QUERIES),
        variance,
        rows["part_id"].to_pylist(),
        rows["id"].to_pylist(),
        rows["key"].to_pylist(),
        pc.list_element(rows["drops"], 0).to_pylist() if rows.num_rows else [],
        rows["text_language"].to_pylist(),
        clusters.tolist(),
        cluster_names,
        x,
        y,
        raw.tolist(),
        corrected.tolist(),
    )


def _sample(
    opened: OpenRelease, gallery: str, columns: list[str], most: int
) -> tuple[int, np.ndarray, pa.Table]:
    """The rows of a gallery, the numbers (n,) of at most `most` of them, and these rows."""
    table = opened.gallery_dataset(gallery)
    with detected(table.uri, table.version):
        total = table.count_rows()
        if total <= most:
            return total, np.arange(total), table.to_table(columns=columns)
        chosen = np.sort(np.random.default_rng(0).choice(total, most, replace=False))
        return total, chosen, table.take(chosen.tolist(), columns=columns)


def _name_clusters(
    opened: OpenRelease, gallery: str, numbers: np.ndarray, clusters: np.ndarray
) -> list[str]:
    """The names of clusters, from the captions of some rows: numbers and clusters are (n,)."""
    read = map_clusters.drawn_rows(clusters, _NAMING)
    table = opened.gallery_dataset(gallery)
    with detected(table.uri, table.version):
        captions = table.take(numbers[read].tolist(), columns=["caption"])["caption"]
    return map_clusters.names(clusters[read], captions.to_pylist())


def project(vectors: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Project vectors (n, d) onto their first two principal components.

    The sign of a component is that of its largest loading, so that equal vectors give equal maps.

    Returns:
        (n, 2) float64, and the shares of the variance along both.
    """
    places, shares = np.zeros((len(vectors), 2)), [0.0, 0.0]
    if len(vectors):
        centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
        values, components = np.linalg.eigh(centred.T @ centred)  # increasing
        values = np.maximum(values, 0)
        for axis in range(min(2, len(values))):
            component = components[:, -1 - axis]
            sign = -1 if component[np.abs(component).argmax()] < 0 else 1
            places[:, axis] = centred @ (sign * component)
            shares[axis] = float(values[-1 - axis] / max(values.sum(), _TINY))
    return places, (shares[0], shares[1])


def _occurrences(
    rows: pa.Table, bank: Bank, direction: Direction | None, within: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The k-occurrence (n,) of rows by raw scores, and by corrected ones.

    Args:
        rows: of the gallery.
        bank: of the queries.
        direction: the compiled correction; None for raw scores.
        within: queries and items are of one modality: a query does not find its own cluster.
    """
    vectors, clusters = bank.vectors[:_MOST_QUERIES], bank.clusters[:_MOST_QUERIES]
    raw, corrected = np.zeros((2, rows.num_rows), np.int64)
    if not len(vectors) or not rows.num_rows:
        return raw, corrected
    items = as_matrix(rows["vector"])
    own = rows["cluster"].to_numpy(zero_copy_only=False).astype(str) if within else None
    for start in range(0, len(vectors), _TILE):
        tile = vectors[start : start + _TILE]
        hidden = None if own is None else clusters[start : start + _TILE, None] == own
        of_tile = _count(_queries(tile, None) @ items.T, hidden)
        raw += of_tile
        if direction is not None and direction.method != "none":
            of_tile = _count_corrected(rows, tile, direction, hidden)
        corrected += of_tile
    return raw, corrected


def _count_corrected(
    rows: pa.Table, tile: np.ndarray, direction: Direction, hidden: np.ndarray | None
) -> np.ndarray:
    items = as_matrix(rows[vector_column(direction.query, {direction.query: direction})])
    scores = _queries(tile, direction) @ items.T
    if direction.recipe.dynamic:  # corrected only where the query's best item is a hub
        uncorrected = _queries(tile, None) @ items.T
        flags = rows[f"hub_{direction.query}"].to_numpy(zero_copy_only=False)
        scores = np.where(flags[uncorrected.argmax(axis=1)][:, None], scores, uncorrected)
    return _count(scores, hidden)


def _queries(vectors: np.ndarray, direction: Direction | None) -> np.ndarray:
    """Queries (m, width) for served rows, with the bias of a direction or without any."""
    directions = {} if direction is None else {direction.query: direction}
    weights = dict.fromkeys(directions, 1.0)
    return np.stack([query_vector(vector, weights, directions) for vector in vectors])


def _count(scores: np.ndarray, hidden: np.ndarray | None) -> np.ndarray:
    """How many of the queries have each item among their K best: scores (m, n), counts (n,).

    Pairs of `hidden` do not count.
    """
    if hidden is not None:
        scores = np.where(hidden, -np.inf, scores)
    k = min(_K, scores.shape[1])
    best = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, -k:]
    is_counted = np.take_along_axis(scores, best, axis=1) > -np.inf
    return np.bincount(best[is_counted], minlength=scores.shape[1])
