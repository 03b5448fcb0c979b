"""Explains the rank of a hit: scores, bias, rank without correction, nearest neighbours."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from store.arrow import as_matrix
from store.search.column_plan import WeightedInput, bias_applies, combine, vector_column
from store.search.column_query import ColumnQuery
from store.search.explanation import MAX_RANK, Explanation, Neighbour, Part, Word
from store.search.gallery_search import GallerySearch
from store.search.opened import OpenRelease
from store.search.vector_layout import query_vector, unfold
from store.tables.indexes import probe_name
from store.tables.lance_tables import one_of
from store.tables.moments import span_text
from store.tables.words import WORDS

NEIGHBOURS = 5
HUB_DEVIATIONS = 2.0


def explain(
    opened: OpenRelease, search: GallerySearch, part_id: str, hit: dict[str, Any]
) -> Explanation:
    """Explain one hit of a query.

    Args:
        opened: the release that was searched.
        search: the query on the gallery of the item.
        part_id: of the item.
        hit: the item's row in the result.
    """
    modality, dim = search.gallery.modality, opened.release.dim
    row = search.row(part_id, hit)
    vector = unfold(as_matrix(row["vector"]), dim)[0]
    parts = tuple(
        replace(_part(opened, row, given, search), query=number)
        for number, member in enumerate(search.members)
        for given in member.inputs
    )
    modalities = dict.fromkeys(part.modality for part in parts)
    if len(search.members) > 1:
        raw_rank = _rank_of_compound(search, part_id)
        scores = tuple(float(member.calibrated(member.scores(row))[0]) for member in search.members)
    else:
        raw_rank = _raw_rank(search, part_id)
        scores = ()
    return Explanation(
        row["key"][0].as_py(),
        row["caption"][0].as_py(),
        modality,
        hit["rank"],
        raw_rank,
        hit["_score"],
        hit["_raw_score"],
        hit["_bias"],
        parts,
        _nearest_items(opened, modality, vector, part_id),
        {m: _nearest_queries(opened, m, vector) for m in modalities},
        scores,
        _words(row),
        span_text(hit),
    )


def _words(row: pa.Table) -> tuple[Word, ...]:
    """The words that the item of a gallery row was given, best first."""
    given = row[WORDS][0].as_py() if WORDS in row.schema.names else None
    return tuple(Word(each["word"], each["weight"]) for each in given or ())


def _part(opened: OpenRelease, row: pa.Table, given: WeightedInput, search: GallerySearch) -> Part:
    """The contribution of one input to the score of a gallery row."""
    m, dim, modality = given.modality, opened.release.dim, search.gallery.modality
    direction = opened.release.directions[f"{m}->{modality}"]
    raw = float(unfold(as_matrix(row["vector"]), dim)[0] @ given.vector)
    moved = unfold(as_matrix(row[vector_column(m, {m: direction})]), dim)[0]
    bias = row[f"bias_{m}"][0].as_py() if direction.method != "none" else 0.0
    if not bias_applies(search.gallery, given, direction, search.where).applies:
        bias = 0.0
    bias += raw - float(moved @ given.vector)
    count = row[f"occurrence_{m}"][0].as_py()
    if count is None:
        hub = mean = None
    else:
        mean, deviation = opened.occurrence(modality, m)
        hub = count > mean + HUB_DEVIATIONS * deviation
    return Part(m, given.weight, direction.method, direction.reason, raw, bias, count, mean, hub)


def _raw_rank(search: GallerySearch, part_id: str) -> int | None:
    """The rank of a part by raw scores; of several rows of a part, the best one counts."""
    query = ColumnQuery(
        "vector", query_vector(combine(search.inputs), {}, {}), 0.0
    )  # a rank is exact: scan
    count = 100
    while count <= MAX_RANK:
        fetched = search.gallery.fetch(query, count, ["part_id"], search.where)
        rows = fetched.rows["part_id"].to_pylist()
        if part_id in rows:
            return list(dict.fromkeys(rows)).index(part_id) + 1
        if len(rows) < count:
            return None
        count *= 10
    return None


def _rank_of_compound(search: GallerySearch, part_id: str) -> int | None:
    """The rank of an item by the raw scores of a compound query."""
    parts = search.raw().best(MAX_RANK).rows["part_id"].to_pylist()
    return parts.index(part_id) + 1 if part_id in parts else None


def _nearest_items(
    opened: OpenRelease, modality: str, vector: np.ndarray, part_id: str
) -> tuple[Neighbour, ...]:
    """The nearest items of the gallery, without the item itself."""
    gallery = opened.open_gallery(modality)
    probes = (probe_name(modality, modality, False),)
    query = ColumnQuery("vector", query_vector(vector, {}, {}), 0.0, probes)
    columns = ["part_id", "key", "caption"]
    rows = gallery.fetch(query, NEIGHBOURS + 1, columns, None).rows.to_pylist()
    others = [r for r in rows if r["part_id"] != part_id][:NEIGHBOURS]
    return tuple(Neighbour(r["key"], r["caption"], r["_column_score"]) for r in others)


def _nearest_queries(
    opened: OpenRelease, modality: str, vector: np.ndarray
) -> tuple[Neighbour, ...]:
    """The nearest queries of the bank. Queries that are not in the gallery have no caption."""
    bank = opened.banks.queries(modality)
    similarity = bank.vectors @ vector
    best = np.argsort(-similarity, kind="stable")[:NEIGHBOURS]
    rows: dict[str, dict[str, Any]] = {}
    if len(best) and modality in opened.release.modalities:
        matches = opened.gallery_dataset(modality).to_table(
            columns=["part_id", "key", "caption"],
            filter=one_of("part_id", map(str, bank.parts[best])),
        )
        rows = {row["part_id"]: row for row in matches.to_pylist()}
    neighbours = []
    for i in best:
        row = rows.get(bank.parts[i], {})
        key = row.get("key", f"query {bank.parts[i]}")
        neighbours.append(Neighbour(key, row.get("caption"), float(similarity[i])))
    return tuple(neighbours)
