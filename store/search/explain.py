"""Why an item stands where it stands: scores, the rank without correction, neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from store.arrays import as_matrix
from store.search.corrected_search import (
    ColumnQuery,
    Weighted,
    applies,
    combine,
    fetch,
    vector_column,
)
from store.search.vector_layout import query_vector, unfold
from store.tables.lance_tables import quote

if TYPE_CHECKING:
    from store.search.corpus import Corpus

NEIGHBOURS = 5
MOST_RANKS = 10_000  # how far down the raw list an item is looked for
HUB_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Part:
    """What one input of the query contributed. `score` is `raw_score` less `bias`, unweighted.

    `method` is what the release compiled for the direction, and `reason` why. `occurrence` is the
    item's k-occurrence among `queries` bank queries, whose mean over the gallery is
    `mean_occurrence` (None without a bank); a `hub` is more than two standard deviations above it
    (Radovanovic, Nanopoulos and Ivanovic 2010, "Hubs in space", JMLR 11).
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
    """An item or a query near to the explained item, by the cosine of their vectors."""

    key: str
    caption: str | None
    similarity: float


@dataclass(frozen=True)
class Explanation:
    """One hit explained.

    `raw_rank` is its rank by raw scores under the same condition, None where that is beyond the
    first 10,000. `items` are the nearest items of its own gallery, `queries` the nearest of the
    bank's queries, by the modality that asked.
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
        """Print it."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        console = Console()
        was = f"more than {MOST_RANKS:,}" if self.raw_rank is None else f"{self.raw_rank:,}"
        console.print(f"[bold]{escape(self.key)}[/bold] {escape((self.caption or '').strip())}")
        console.print(
            f"rank {self.rank}, by raw scores {was}: {self.raw_score:.4f} raw"
            f" - {self.bias:.4f} bias = {self.score:.4f}"
        )
        for part in self.parts:
            stands = "no bank to count in"
            if part.occurrence is not None:
                kind = "a hub" if part.hub else "no hub"
                stands = (
                    f"in {part.occurrence:,} raw top tens of the bank's {part.modality} queries,"
                    f" where the mean is {part.mean_occurrence:.2f}: {kind}"
                )
            console.print(f"{part.modality}: {part.method}; {stands}", style="dim")
        table = Table("near to it", "", "cosine", pad_edge=False)
        near = [("item", n) for n in self.items]
        near += [(f"{m} query", n) for m, listed in self.queries.items() for n in listed]
        for kind, n in near:
            shown = (n.caption or n.key).strip()
            table.add_row(kind, escape(shown[:70]), f"{n.similarity:.3f}")
        console.print(table)


def explain(
    corpus: "Corpus",
    inputs: Sequence[Weighted],
    condition: str | None,
    modality: str,
    part_id: str,
    hit: dict[str, Any],
) -> Explanation:
    """Explain a hit of a query that was made of these inputs, under this condition."""
    dataset = corpus.gallery(modality).to_lance()
    row = dataset.to_table(filter=f"part_id = {quote(part_id)}")
    vector = unfold(as_matrix(row["vector"]), corpus.release.dim)[0]
    parts = tuple(_part(corpus, row, given, modality, condition) for given in inputs)
    items = _nearest(corpus, modality, vector, part_id)
    queries = {i.modality: _asked_near(corpus, i.modality, vector) for i in inputs}
    return Explanation(
        row["key"][0].as_py(),
        row["caption"][0].as_py(),
        modality,
        hit["rank"],
        _raw_rank(corpus, list(inputs), condition, modality, part_id),
        hit["_score"],
        hit["_raw_score"],
        hit["_bias"],
        parts,
        items,
        queries,
    )


def _part(
    corpus: "Corpus", row: pa.Table, given: Weighted, modality: str, condition: str | None
) -> Part:
    """What one input gives the gallery row, by the correction that the release has compiled."""
    m, dim = given.modality, corpus.release.dim
    way = corpus.release.directions[f"{m}->{modality}"]
    raw = float(unfold(as_matrix(row["vector"]), dim)[0] @ given.vector)
    moved = unfold(as_matrix(row[vector_column(m, {m: way})]), dim)[0]
    bias = row[f"bias_{m}"][0].as_py() if way.method != "none" else 0.0
    if not applies(corpus.gallery(modality), given, way, condition):
        bias = 0.0
    bias += raw - float(moved @ given.vector)
    count = row[f"occurrence_{m}"][0].as_py()
    if count is None:
        return Part(m, given.weight, way.method, way.reason, raw, bias, None, None, None)
    mean, deviation = corpus.occurrence(modality, m)
    hub = count > mean + HUB_DEVIATIONS * deviation
    return Part(m, given.weight, way.method, way.reason, raw, bias, count, mean, hub)


def _raw_rank(
    corpus: "Corpus", inputs: list[Weighted], condition: str | None, modality: str, part_id: str
) -> int | None:
    table = corpus.gallery(modality)
    lane = ColumnQuery("vector", query_vector(combine(inputs), {}), 0.0)
    count = 100
    while count <= MOST_RANKS:
        rows = fetch(table, lane, count, ["part_id"], condition)["part_id"].to_pylist()
        if part_id in rows:
            return rows.index(part_id) + 1
        if len(rows) < count:
            return None
        count *= 10
    return None


def _nearest(
    corpus: "Corpus", modality: str, vector: np.ndarray, part_id: str
) -> tuple[Neighbour, ...]:
    """The nearest items of the gallery, without the item itself."""
    lane = ColumnQuery("vector", query_vector(vector, {}), 0.0)
    columns = ["part_id", "key", "caption"]
    rows = fetch(corpus.gallery(modality), lane, NEIGHBOURS + 1, columns, None).to_pylist()
    others = [r for r in rows if r["part_id"] != part_id][:NEIGHBOURS]
    return tuple(Neighbour(r["key"], r["caption"], r["_lane"]) for r in others)


def _asked_near(corpus: "Corpus", modality: str, vector: np.ndarray) -> tuple[Neighbour, ...]:
    """The nearest queries of the bank; those that the corpus does not hold have no caption."""
    bank = corpus.banks.queries(modality)
    similarity = bank.vectors @ vector
    best = np.argsort(-similarity, kind="stable")[:NEIGHBOURS]
    known: dict[str, dict[str, Any]] = {}
    if len(best) and modality in corpus.release.modalities:
        listed = ", ".join(quote(str(bank.parts[i])) for i in best)
        dataset = corpus.gallery(modality).to_lance()
        rows = dataset.to_table(
            columns=["part_id", "key", "caption"], filter=f"part_id IN ({listed})"
        )
        known = {r["part_id"]: r for r in rows.to_pylist()}
    return tuple(
        Neighbour(
            known.get(bank.parts[i], {}).get("key", f"query {bank.parts[i]}"),
            known.get(bank.parts[i], {}).get("caption"),
            float(similarity[i]),
        )
        for i in best
    )
