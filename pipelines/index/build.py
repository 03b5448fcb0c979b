"""Builds the indexes of one gallery with Lance and measures them."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lance
import numpy as np

from pipelines.index.choose_probes import choose_probe, keep_probes, scan_milliseconds
from pipelines.index.exact_scores import best_rows
from pipelines.index.extend import can_extend, extend, has_room
from store.arrow import as_matrix
from store.config.index import Index
from store.search.column_plan import vector_column
from store.search.open_gallery import OpenGallery
from store.search.vector_layout import query_vector, unfold
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.indexes import DEEPEST, FLAT, GalleryIndex, Probe, probe_name
from store.tables.lance_tables import Tables
from store.tables.reindex import unindexed_rows, vector_indexes
from store.tables.words import WORDS_TEXT

# That probes are chosen and measured on, for each direction; fewer for deeper results.
QUERIES = 256
DEPTHS = (10, 100, DEEPEST)
_SCANS = 3
_SIMILAR = 0.1  # growth of a gallery within which settings that miss the bound are not tried again
_UNMEASURED = 0.05  # rows that came or left since settings were measured, up to which they are kept
_KEPT = 4  # settings that may be kept are measured on so many times fewer queries
# Rows for each partition that k-means sees. With Lance's 256, building costs almost twice as much,
# and as many probes contain a thousandth more of the best rows.
_SAMPLE_RATE = 64
_SUB_VECTOR = 8  # dimensions that a code of IVF_PQ stands for
_TEXT_INDEXES = ("caption", WORDS_TEXT)
# Ids, and what conditions name most. With such an index, a scan reads only the vectors of the rows
# that satisfy a condition.
SCALAR_INDEXES = {
    **dict.fromkeys(("part_id", "id", "key"), "BTREE"),
    **dict.fromkeys(("image_width", "image_height", "audio_seconds"), "BTREE"),
    "text_language": "BITMAP",
}


def index_gallery(
    tables: Tables,
    name: str,
    modality: str,
    directions: Mapping[str, Direction],
    banks: Banks,
    settings: Index,
    last: GalleryIndex | None = None,
    texts: bool = True,
) -> GalleryIndex:
    """Index a gallery and choose how its index is probed.

    Args:
        tables: of the corpus.
        name: of the gallery.
        modality: of its items.
        directions: that search it, by name.
        banks: whose queries recall is measured on.
        settings: of corpus.yaml.
        last: the index of the gallery before it changed. If the gallery has hardly changed, the
            index is extended where that is possible, and settings are kept.
        texts: index captions too.

    Returns:
        The index with a setting for each direction, raw and corrected, that reaches the bound.
    """
    with tables.lock(name):
        table = tables.open(name)
        rows = table.count_rows()
        if texts:
            _index_texts(table)
        kind = settings.type_for(rows)
        if kind == FLAT or rows < 2:
            return GalleryIndex(rows=rows, bound=settings.recall)
        partitions = settings.partitions_for(kind, rows)
        columns = {vector_column(d.query, {d.query: d}) for d in directions.values()} | {"vector"}
        known = last if last is not None and _is_similar(last, kind, rows, settings) else None
        started, changed = time.monotonic(), rows  # built anew: all rows changed
        if known and all(can_extend(table, column, kind) for column in columns):
            partitions = known.partitions
            changed = known.changed + _changed_rows(table, sorted(columns), known.rows)
            for column in sorted(columns):
                table = tables.open(name)
                extend(table, vector_indexes(table)[column])
        else:
            for column in sorted(columns):
                _index_vectors(tables.open(name), column, kind, partitions)
        for column, scalar in SCALAR_INDEXES.items():
            _index_scalars(tables.open(name), column, scalar)
        seconds = time.monotonic() - started
    table = tables.open(name)
    size = sum(d.total_size_bytes or 0 for d in table.describe_indices())
    index = GalleryIndex(kind, rows, partitions, size, seconds, settings.recall)
    if known and changed <= _UNMEASURED * rows and _names(directions) <= known.probes.keys():
        kept = {name: getattr(known, name) for name in ("probes", "notes", "flat_milliseconds")}
        return replace(index, changed=changed, **kept)
    gallery = OpenGallery(table, modality, index)
    return _with_probes(gallery, directions, banks, known or GalleryIndex())


def _changed_rows(table: lance.LanceDataset, columns: list[str], before: int) -> int:
    """How many rows came to or left a gallery since its indexes were extended.

    Args:
        table: the gallery.
        columns: with an index.
        before: the number of rows then.
    """
    indexes = vector_indexes(table)
    came = max(unindexed_rows(table, indexes[column]) for column in columns)
    return came + max(0, before + came - table.count_rows())


def _is_similar(last: GalleryIndex, kind: str, rows: int, settings: Index) -> bool:
    """Whether an index, and how it is probed, may be kept for so many rows."""
    same = (last.type, last.bound) == (kind, settings.recall)
    wanted = settings.partitions in (None, last.partitions)
    return same and wanted and abs(rows - last.rows) <= _SIMILAR * last.rows


def _index_vectors(table: lance.LanceDataset, column: str, kind: str, partitions: int) -> None:
    options: dict[str, Any] = {"num_partitions": partitions, "sample_rate": _SAMPLE_RATE}
    if kind == "ivf_pq":
        options["num_sub_vectors"] = table.schema.field(column).type.list_size // _SUB_VECTOR
    table.create_index(column, kind.upper(), metric="dot", replace=True, **options)


def _index_scalars(table: lance.LanceDataset, column: str, kind: str) -> None:
    """Index a column, if the table has values of it, or extend its index by the rows it lacks."""
    present = (i for i in table.describe_indices() if i.field_names == [column])
    index = next((i for i in present if i.index_type.upper() == kind), None)
    if index is not None and (has_room(index) or not unindexed_rows(table, index)):
        extend(table, index)
    elif column in table.schema.names and table.count_rows(f"{column} IS NOT NULL"):
        table.create_scalar_index(column, kind, replace=True)


def _index_texts(table: lance.LanceDataset) -> None:
    """Index captions and the words of items for full-text search, if there are any."""
    for column in _TEXT_INDEXES:
        _index_scalars(table, column, "INVERTED")


def _names(directions: Mapping[str, Direction]) -> set[str]:
    """The names of the settings that directions need."""
    return {
        probe_name(each.query, each.gallery, corrected)
        for each in directions.values()
        for corrected in (False, True)
        if not corrected or each.method != "none"
    }


def _with_probes(
    gallery: OpenGallery, directions: Mapping[str, Direction], banks: Banks, last: GalleryIndex
) -> GalleryIndex:
    """The index of a gallery with its settings and notes.

    Args:
        last: of nearly the same gallery. A depth that it has no setting for is not tried again.
    """
    probes: dict[str, tuple[Probe, ...]] = {}
    notes: list[str] = []
    bound, scan = gallery.index.bound, 0.0
    for direction in directions.values():
        queries = _queries(gallery, banks, direction.query)
        for corrected in (False, True):
            if corrected and direction.method == "none":
                continue
            active = {direction.query: direction} if corrected else {}
            column = vector_column(direction.query, active)
            weights = dict.fromkeys(active, 1.0)
            vectors = np.stack([query_vector(query, weights, active) for query in queries])
            depths = [d for d in DEPTHS if d < gallery.index.rows]
            name = probe_name(direction.query, gallery.modality, corrected)
            known = last.probes.get(name)
            tried = _kept(gallery, column, vectors, depths, known)
            if tried is None:
                tried = _chosen(gallery, column, vectors, depths, known)
            probes[name] = tuple(probe for probe in tried if probe is not None)
            notes += [
                f"{name}: no setting reaches recall@{depth} of {bound:g}; search scans"
                for depth, probe in zip(depths, tried, strict=True)
                if probe is None
            ]
            scan = scan or scan_milliseconds(gallery, column, vectors[:_SCANS])
    return replace(gallery.index, probes=probes, notes=tuple(notes), flat_milliseconds=scan)


def _kept(
    gallery: OpenGallery,
    column: str,
    queries: np.ndarray,
    depths: list[int],
    last: tuple[Probe, ...] | None,
) -> list[Probe | None] | None:
    """The last settings by depth, if there are some and all still reach the bound."""
    if last is None:
        return None
    half = len(queries) // 2  # the others were chosen on
    some = queries[half : half + max(2, half // _KEPT)]
    kept = keep_probes(gallery, column, some, last, gallery.index.bound)
    by_depth = {probe.depth: probe for probe in kept or ()}
    return None if kept is None else [by_depth.get(depth) for depth in depths]


def _chosen(
    gallery: OpenGallery,
    column: str,
    queries: np.ndarray,
    depths: list[int],
    last: tuple[Probe, ...] | None,
) -> list[Probe | None]:
    """A setting for each depth. One that the last gallery had none for is not tried again."""
    best = best_rows(gallery.table, column, queries, depths) if depths else {}
    before = {probe.depth: probe for probe in last or ()}
    tried: list[Probe | None] = []
    for depth in depths:
        bound, known = gallery.index.bound, before.get(depth)
        is_tried = last is None or known is not None
        some = queries[: len(best[depth].ids)], best[depth]
        tried.append(
            choose_probe(gallery, column, *some, depth, bound, known) if is_tried else None
        )
    return tried


def _queries(gallery: OpenGallery, banks: Banks, modality: str) -> np.ndarray:
    """Queries (m, d) of a modality: of its bank, or items of the gallery if there is no bank."""
    vectors = banks.queries(modality).vectors
    if len(vectors) < 2:
        rows = gallery.table.to_table(columns=["vector"], limit=QUERIES)
        dim = banks.table.schema.field("vector").type.list_size
        vectors = unfold(as_matrix(rows["vector"]), dim)
    chosen = np.random.default_rng(0).permutation(len(vectors))[:QUERIES]
    return vectors[chosen]
