"""Explains the rank of a hit: scores, bias, rank without correction, nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from store.arrow import as_matrix
from store.search.column_plan import WeightedInput, bias_applies, combine, vector_column
from store.search.condition import compile_condition
from store.search.open_gallery import ColumnQuery
from store.search.opened import OpenRelease
from store.search.vector_layout import query_vector, unfold
from store.tables.indexes import probe_name
from store.tables.lance_tables import one_of, quote

NEIGHBOURS = 5
MAX_RANK = 10_000  # raw ranks beyond this are not determined
HUB_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Part:
    """What one input of the query contributes to the score.

    Attributes:
        modality: of the input.
        weight: of the input.
        method: the correction that the release has compiled for this direction.
        reason: why this method was selected.
        raw_score: cosine of input and item, not weighted.
        bias: what the correction subtracts from `raw_score`, not weighted.
        occurrence: the item's k-occurrence among the queries of the bank: in how many of their raw
            top tens it is. None without a bank.
        mean_occurrence: the mean of `occurrence` over the gallery. None without a bank.
        hub: whether `occurrence` is more than two standard deviations above the mean
            (Radovanovic, Nanopoulos and Ivanovic 2010, "Hubs in space", JMLR 11). None without a
            bank.
    """

    modality: str
    weight: float
    method: str
    reason: str
    raw_score: float
    bias: float
    occurrence: int | None
    mean_occurrence: float | None
    hub: bool | None


@dataclass(frozen=True)
class Neighbour:
    """An item or a query close to the explained item; `similarity` is the cosine of the two."""

    key: str
    caption: str | None
    similarity: float


@dataclass(frozen=True)
class Explanation:
    """One hit explained.

    Attributes:
        key: of the sample.
        caption: of the sample.
        modality: of the item.
        rank: in the result, from 1.
        raw_rank: rank by raw scores under the same condition. None if it is beyond 10,000.
        score: `raw_score` less `bias`, weighted over all inputs.
        raw_score: weighted over all inputs.
        bias: weighted over all inputs.
        parts: the contribution of each input.
        items: the nearest items of the same gallery.
        queries: the nearest queries of the bank, by modality of the inputs.
    """

    key: str
    caption: str | None
    modality: str
    rank: int
    raw_rank: int | None
    score: float
    raw_score: float
    bias: float
    parts: tuple[Part, ...]
    items: tuple[Neighbour, ...]
    queries: dict[str, tuple[Neighbour, ...]]

    def show(self) -> None:
        """Print the explanation."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        console = Console()
        raw_rank = f"more than {MAX_RANK:,}" if self.raw_rank is None else f"{self.raw_rank:,}"
        console.print(f"[bold]{escape(self.key)}[/bold] {escape((self.caption or '').strip())}")
        console.print(
            f"rank {self.rank}, by raw scores {raw_rank}: {self.raw_score:.4f} raw"
            f" - {self.bias:.4f} bias = {self.score:.4f}"
        )
        for part in self.parts:
            occurrence = "no bank to count in"
            if part.occurrence is not None:
                hub = "a hub" if part.hub else "no hub"
                occurrence = (
                    f"in {part.occurrence:,} raw top tens of the bank's {part.modality} queries,"
                    f" where the mean is {part.mean_occurrence:.2f}: {hub}"
                )
            console.print(f"{part.modality}: {part.method}; {occurrence}", style="dim")
        table = Table("nearest", "", "cosine", pad_edge=False)
        rows = [("item", item) for item in self.items]
        rows += [(f"{m} query", query) for m, nearest in self.queries.items() for query in nearest]
        for kind, neighbour in rows:
            text = (neighbour.caption or neighbour.key).strip()
            table.add_row(kind, escape(text[:70]), f"{neighbour.similarity:.3f}")
        console.print(table)


def explain(
    opened: OpenRelease,
    inputs: Sequence[WeightedInput],
    condition: str | None,
    modality: str,
    part_id: str,
    hit: dict[str, Any],
) -> Explanation:
    """Explain one hit of a query.

    Args:
        opened: the release that was searched.
        inputs: the inputs of the query.
        condition: the SQL condition of the query.
        modality: of the item.
        part_id: of the item.
        hit: the item's row in the result.
    """
    gallery = opened.open_gallery(modality)
    if condition is not None:
        condition = compile_condition(condition, gallery.filter_columns)
    row = gallery.table.to_table(filter=f"part_id = {quote(part_id)}")
    vector = unfold(as_matrix(row["vector"]), opened.release.dim)[0]
    parts = tuple(_part(opened, row, given, modality, condition) for given in inputs)
    items = _nearest_items(opened, modality, vector, part_id)
    queries = {i.modality: _nearest_queries(opened, i.modality, vector) for i in inputs}
    return Explanation(
        row["key"][0].as_py(),
        row["caption"][0].as_py(),
        modality,
        hit["rank"],
        _raw_rank(opened, list(inputs), condition, modality, part_id),
        hit["_score"],
        hit["_raw_score"],
        hit["_bias"],
        parts,
        items,
        queries,
    )


def _part(
    opened: OpenRelease,
    row: pa.Table,
    given: WeightedInput,
    modality: str,
    condition: str | None,
) -> Part:
    """The contribution of one input to the score of a gallery row."""
    m, dim = given.modality, opened.release.dim
    direction = opened.release.directions[f"{m}->{modality}"]
    raw = float(unfold(as_matrix(row["vector"]), dim)[0] @ given.vector)
    moved = unfold(as_matrix(row[vector_column(m, {m: direction})]), dim)[0]
    bias = row[f"bias_{m}"][0].as_py() if direction.method != "none" else 0.0
    if not bias_applies(opened.open_gallery(modality), given, direction, condition).applies:
        bias = 0.0
    bias += raw - float(moved @ given.vector)
    count = row[f"occurrence_{m}"][0].as_py()
    if count is None:
        hub = mean = None
    else:
        mean, deviation = opened.occurrence(modality, m)
        hub = count > mean + HUB_DEVIATIONS * deviation
    return Part(m, given.weight, direction.method, direction.reason, raw, bias, count, mean, hub)


def _raw_rank(
    opened: OpenRelease,
    inputs: list[WeightedInput],
    condition: str | None,
    modality: str,
    part_id: str,
) -> int | None:
    gallery = opened.open_gallery(modality)
    query = ColumnQuery("vector", query_vector(combine(inputs), {}), 0.0)  # a rank is exact: scan
    count = 100
    while count <= MAX_RANK:
        rows = gallery.fetch(query, count, ["part_id"], condition).rows["part_id"].to_pylist()
        if part_id in rows:
            return rows.index(part_id) + 1
        if len(rows) < count:
            return None
        count *= 10
    return None


def _nearest_items(
    opened: OpenRelease, modality: str, vector: np.ndarray, part_id: str
) -> tuple[Neighbour, ...]:
    """The nearest items of the gallery, without the item itself."""
    gallery = opened.open_gallery(modality)
    probes = (probe_name(modality, modality, False),)
    query = ColumnQuery("vector", query_vector(vector, {}), 0.0, probes)
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
