"""Held-out samples that ask for their own parts, for `stress` and `systems`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from store.errors import NotFoundError
from store.metrics.intervals import bootstrap_many
from store.search.execute import run_query
from store.search.inputs import id_input, scaled_to_one
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.sample_batches import read_samples
from store.tables.schema import MODALITIES

DEPTH = 1_000
SAMPLE = "sample"  # the level of samples in the place of a gallery
Values = list[Any]


class QuerySamples(NamedTuple):
    """The held-out samples that queries are made of.

    Attributes:
        ids: of n samples.
        clusters: (n,) strings.
        parts: the part ids of each sample, by modality.
    """

    ids: list[str]
    clusters: np.ndarray
    parts: list[dict[str, str]]

    @property
    def modalities(self) -> list[str]:
        """The modalities that any sample has a part of."""
        return [m for m in MODALITIES if any(m in parts for parts in self.parts)]

    def take(self, rows: np.ndarray) -> "QuerySamples":
        """The samples with these numbers."""
        ids, parts = ([values[n] for n in rows] for values in (self.ids, self.parts))
        return QuerySamples(ids, self.clusters[rows], parts)

    def having(self, *modalities: str) -> np.ndarray:
        """The numbers of the samples that have parts of all these modalities."""
        return np.array(
            [n for n, parts in enumerate(self.parts) if parts.keys() >= set(modalities)], np.int64
        )


def draw_query_samples(opened: OpenRelease, most: int, split: str) -> QuerySamples:
    """Draw held-out samples with two parts or more, at random with a fixed seed.

    Args:
        opened: the release.
        most: how many samples.
        split: "validation" or "test".

    Raises:
        NotFoundError: the release has no such samples.
    """
    rows = opened.banks.select(["sample_id", "cluster", "modality", "part_id"], split=split)
    parts: dict[str, dict[str, str]] = {}
    clusters: dict[str, str] = {}
    for row in rows.to_pylist():
        parts.setdefault(row["sample_id"], {})[row["modality"]] = row["part_id"]
        clusters[row["sample_id"]] = row["cluster"]
    paired = sorted(sample for sample, own in parts.items() if len(own) > 1)
    ids = np.random.default_rng(0).permutation(paired)[:most].tolist()
    if not ids:
        number = opened.release.number
        raise NotFoundError(f"release {number} has no {split} samples of two parts")
    return QuerySamples(ids, np.array([clusters[i] for i in ids]), [parts[i] for i in ids])


def read_inputs(opened: OpenRelease, drawn: QuerySamples) -> dict[str, Values]:
    """By modality, the n texts or files of the samples, None where a sample has no such part."""
    inputs: dict[str, Values] = {m: [] for m in drawn.modalities}
    parts = dict(zip(drawn.ids, drawn.parts, strict=True))
    for batch in read_samples(opened, drawn.ids):
        for row in batch.select(["id", *inputs]).to_pylist():
            for modality, values in inputs.items():
                values.append(row[modality] if modality in parts[row["id"]] else None)
    return inputs


def stored_vectors(opened: OpenRelease, drawn: QuerySamples, split: str) -> dict[str, np.ndarray]:
    """By modality, the vectors (n, d) of the samples' parts as queries; NaN where one is missing.

    Args:
        opened: the release.
        drawn: n samples of the split.
        split: of the banks.
    """
    vectors = {}
    for modality in drawn.modalities:
        bank = opened.banks.pair_queries(split, modality)
        rows = {part: row for row, part in enumerate(bank.parts.tolist())}
        own = np.array([rows.get(parts.get(modality, ""), -1) for parts in drawn.parts])
        out = np.full((len(own), opened.release.dim), np.nan, np.float32)
        out[own >= 0] = bank.vectors[own[own >= 0]]
        vectors[modality] = out
    return vectors


def encode(opened: OpenRelease, modality: str, values: Sequence[Any]) -> np.ndarray:
    """The vectors (n, d) of inputs; NaN for None."""
    out = np.full((len(values), opened.release.dim), np.nan, np.float32)
    present = [n for n, value in enumerate(values) if value is not None]
    if present:
        out[present] = opened.encode({modality: [values[n] for n in present]})[modality]
    return out


def ranks_of(
    opened: OpenRelease,
    drawn: QuerySamples,
    vectors: Mapping[str, np.ndarray],
    gallery: str,
    system: Callable[[Query], Query] = lambda query: query,
    depth: int = DEPTH,
    by_id: bool = False,
) -> np.ndarray:
    """The rank of each sample's part in a gallery, by its vectors of some modalities.

    In the place of a gallery, the level "sample" gives the ranks of the samples.

    Args:
        opened: the release.
        drawn: the n samples.
        vectors: (n, d) by modality.
        gallery: the modality of the parts, or "sample".
        system: changes the corrected query.
        depth: the length of the list.
        by_id: ask by the ids of the parts, for systems that need more than their vectors.

    Returns:
        (n,) floats: NaN if a part or vector is missing, infinity if the part is not in the list.
    """
    ranks = np.full(len(drawn.parts), np.nan)
    is_sample = gallery == SAMPLE
    rows = drawn.having(*vectors) if is_sample else drawn.having(*vectors, gallery)
    rows = rows[~np.isnan(sum(v[rows, 0] for v in vectors.values()))]
    if len(rows):
        if by_id:
            own_ids = [[id_input(drawn.parts[row][m]) for m in vectors] for row in rows]
            query = Query(tuple(map(scaled_to_one, own_ids)), is_batch=True)
        else:
            query = Query.of(vectors={m: v[rows] for m, v in vectors.items()})
        searched = system(query.among(gallery)).select("part_id").limit(depth)
        result = run_query(opened, searched).rows
        lists: dict[int, list[str]] = {}
        for number, part in zip(
            result["query"].to_pylist(),
            result["id" if is_sample else "part_id"].to_pylist(),
            strict=True,
        ):
            lists.setdefault(number, []).append(part)
        for number, row in enumerate(rows):
            listed = lists.get(number, [])
            own = drawn.ids[row] if is_sample else drawn.parts[row][gallery]
            ranks[row] = listed.index(own) + 1 if own in listed else np.inf
    return ranks


def reciprocal(ranks: np.ndarray) -> np.ndarray:
    """1 / rank, 0 for a part that is not in the list. NaN stays."""
    return 1 / ranks


def intervals(
    values: Mapping[str, np.ndarray], drawn: QuerySamples, level: float = 0.95
) -> dict[str, Any]:
    """`mean`, `low` and `high` of measures (n,) of the samples, by name, over clusters."""
    made = bootstrap_many(values, groups=drawn.clusters, level=level)
    return {name: interval._asdict() for name, interval in made.items()}
