"""Drift: is what is asked today still like what the release's corrections were fitted to?

A correction evens out how often items stand in result lists, for queries like those of its bank.
Where today's queries are others, hubs come back: the k-occurrence of the released gallery, under
the compiled corrections, is more skewed for fresh queries than for the release's own. Neither
side of the comparison was fitted to, and both have equally many queries, because skewness falls
with their number.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.banks.query_origins import LEAST_REFERENCE
from pipelines.gallery.read_back import read_compiled
from store.arrays import as_matrix
from store.metrics.hubness import k_occurrence, skewness
from store.metrics.intervals import Interval
from store.search import query_log
from store.tables import releases, schema
from store.tables.banks import Banks
from store.tables.drift import Drift, drift_table
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.names import bank_table, vectors_table
from store.tables.releases import Direction, Release
from store.workspace import Workspace

K = 10
LEAST = LEAST_REFERENCE  # queries; from fewer, skewness says little
_MOST = 1_000
_RESAMPLES = 200
_LEVEL = 0.95


def measure_drift(workspace: Workspace) -> list[Drift]:
    """Measure the newest release's directions between modalities, and keep what was found.

    It is kept in `drift__{space}`, not in Dagster's log alone: the sensor, the page and the command
    line then see the same history, and a lost log loses none of it.

    Raises:
        NotFoundError: there is no release yet.
    """
    tables, settings = workspace.tables, workspace.config.corrections
    release, now = releases.latest(tables), datetime.now(UTC)
    asked = {d.query: _fresh(workspace, release, d.query) for d in release.directions.values()}
    name = bank_table(release.space)
    banks = Banks(tables.open(name, version=release.versions[name]).to_table())
    found = []
    for direction in release.directions.values():
        if direction.query == direction.gallery:
            continue  # the release's own queries are in that gallery: they find themselves first
        source, fresh = asked[direction.query]
        own = _own(banks, direction.query)
        about: dict[str, Any] = {
            "measured_at": now,
            "release": release.number,
            "direction": direction.name,
            "bound": settings.drift_bound,
        }
        if min(len(fresh), len(own)) < LEAST:
            found.append(_no_verdict(about, len(fresh), len(own)))
            continue
        found.append(_compare(workspace, release, direction, about, source, fresh, own))
    rows = [{k: v for k, v in asdict(d).items() if k != "occurrence"} for d in found]
    batches = pa.Table.from_pylist(rows, schema=schema.DRIFT).to_batches()
    tables.replace(drift_table(release.space), schema.DRIFT, batches, "false")
    return found


def _fresh(workspace: Workspace, release: Release, modality: str) -> tuple[str, np.ndarray]:
    """Distinct queries that the release has not seen (n, d): logged since it was made, or else, if
    these are too few, the parts of samples that have come in since."""
    logged = _logged(workspace, release, modality)
    if len(logged) >= LEAST:
        return "log", logged
    arrived = _arrived(workspace.tables, release, modality)
    return ("corpus", arrived) if len(arrived) >= len(logged) else ("log", logged)


def _logged(workspace: Workspace, release: Release, modality: str) -> np.ndarray:
    rows = query_log.read(
        workspace.tables, release.space, workspace.config.query_log, since=release.created_at
    )
    mine = pc.and_(
        pc.equal(rows["modality"], modality),
        pc.equal(rows["fingerprint"], release.fingerprints.get(modality, "")),
    )
    # One that is asked a hundred times makes its answers no hubs.
    return np.unique(as_matrix(rows.filter(mine)["vector"]), axis=0)


def _arrived(tables: Tables, release: Release, modality: str) -> np.ndarray:
    """Vectors of embedded parts of drops read since, that neither gallery nor banks have."""
    since = pc.field("published_at") > pa.scalar(release.created_at)
    stages = tables.open("stages").to_table(columns=["drop", "stage"], filter=since)
    drops = stages.filter(pc.equal(stages["stage"], "samples"))["drop"].to_pylist()
    column = f"{modality}_id"
    parts = tables.scan("samples", schema.SAMPLES, [column], one_of("drop", drops))[column]
    known = [release.gallery(modality), bank_table(release.space)]
    seen = [
        tables.open(name, version=release.versions[name]).to_table(columns=["part_id"])["part_id"]
        for name in known
    ]
    new = set(parts.to_pylist()) - {None}.union(*(ids.to_pylist() for ids in seen))
    vectors = tables.open(vectors_table(release.space))
    made = f"encoder = {quote(release.fingerprints.get(modality, ''))}"
    rows = vectors.to_table(
        columns=["vector"], filter=f"{made} AND {one_of('part_id', sorted(new))}"
    )
    return as_matrix(rows["vector"])


def _own(banks: Banks, modality: str) -> np.ndarray:
    """Queries like those of the release's bank, which its corrections were not fitted to."""
    reference = banks.part("reference", modality)[0]
    return reference if len(reference) >= LEAST else banks.part("test", modality)[0]


def _no_verdict(about: dict[str, Any], fresh: int, own: int) -> Drift:
    few = (
        f"{fresh} fresh queries so far"
        if fresh < LEAST
        else f"the release has {own} queries to compare with"
    )
    note = f"no verdict: {few}, it takes {LEAST}"
    return Drift(**about, queries=fresh, note=note)


def _compare(
    workspace: Workspace,
    release: Release,
    direction: Direction,
    about: dict[str, Any],
    source: str,
    fresh: np.ndarray,
    own: np.ndarray,
) -> Drift:
    name = release.gallery(direction.gallery)
    dataset = workspace.tables.open(name, version=release.versions[name])
    gallery, correction = read_compiled(dataset, direction, release.dim)
    count, seed = min(len(fresh), len(own), _MOST), workspace.config.corrections.seed
    rng, items = np.random.default_rng(seed), len(gallery.parts)
    sides = {}
    for side, queries in (("release's own", own), ("fresh", fresh)):
        some = queries[rng.choice(len(queries), count, replace=False)]
        sides[side] = np.asarray(correction.rank(some, K)[0])
    difference = _difference(sides["fresh"], sides["release's own"], items, rng)
    counts = {side: k_occurrence(lists, items) for side, lists in sides.items()}
    drifted = difference.low > about["bound"]
    note = "as skewed as the release's own queries, or nearly so"
    if drifted:
        note = f"hubs come back: {difference.mean:+.2f} in skewness"
        if source == "log" and "log" not in workspace.config.corrections.query_bank:
            note += "; a refit learns from the log only with corrections.query_bank: [corpus, log]"
    return Drift(
        **about,
        source=source,
        queries=count,
        fresh=skewness(counts["fresh"]),
        reference=skewness(counts["release's own"]),
        low=difference.low,
        high=difference.high,
        drifted=drifted,
        note=note,
        occurrence={side: np.bincount(c).tolist() for side, c in counts.items()},
    )


def _difference(
    fresh: np.ndarray, own: np.ndarray, items: int, rng: np.random.Generator
) -> Interval:
    """Skewness of the k-occurrence of lists (m, k), less that of others; queries are resampled on
    both sides (percentile bootstrap)."""

    def resampled(lists: np.ndarray) -> float:
        return skewness(k_occurrence(lists[rng.integers(len(lists), size=len(lists))], items))

    mean = skewness(k_occurrence(fresh, items)) - skewness(k_occurrence(own, items))
    drawn = [resampled(fresh) - resampled(own) for _ in range(_RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(mean, float(low), float(high))
