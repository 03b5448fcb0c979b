"""Measure drift: whether today's queries are still like those that corrections were fitted on.

A correction evens out the k-occurrence of items for queries like those of its bank. For other
queries the hubs come back: the k-occurrence of the released gallery, under the compiled
corrections, is then more skewed for fresh queries than for the release's own. No correction was
fitted on either side of this comparison. Both sides have equally many queries, because skewness
falls with their number.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.banks.query_origins import LEAST_REFERENCE
from pipelines.gallery.read_back import read_compiled
from store.arrow import as_matrix
from store.metrics.hubness import k_occurrence, skewness
from store.metrics.intervals import Interval
from store.search import query_log
from store.tables import releases, schema
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.drift import Drift
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.names import bank_table, drift_table, vectors_table
from store.tables.releases import Release
from store.workspace import Workspace

K = 10  # length of the result lists that k-occurrence is counted in
LEAST = LEAST_REFERENCE  # queries; skewness over fewer is too noisy
_MOST = 1_000
_RESAMPLES = 200
_LEVEL = 0.95


def measure_drift(workspace: Workspace) -> list[Drift]:
    """Measure the directions of the newest release between modalities, and store the result.

    It is appended to the table `drift__{space}`, so that the sensor, the web page and the command
    line read the same history, and it survives the loss of Dagster's event log.

    Raises:
        NotFoundError: there is no release yet.
    """
    tables, settings = workspace.tables, workspace.config.corrections
    release, now = releases.latest_release(tables, workspace.config.space), datetime.now(UTC)
    modalities = {direction.query for direction in release.directions.values()}
    fresh_queries = {m: _fresh_queries(workspace, release, m) for m in sorted(modalities)}
    bank_name = bank_table(release.space)
    banks = Banks(tables.open(bank_name, version=release.versions[bank_name]).to_table())
    results = []
    for direction in release.directions.values():
        if direction.query == direction.gallery:
            continue  # the release's own queries are in that gallery and rank themselves first
        source, fresh = fresh_queries[direction.query]
        own = _own_queries(banks, direction.query)
        common: dict[str, Any] = {
            "measured_at": now,
            "release": release.number,
            "direction": direction.name,
            "bound": settings.drift_bound,
        }
        if min(len(fresh), len(own)) < LEAST:
            results.append(_no_verdict(common, len(fresh), len(own)))
        else:
            results.append(_compare(workspace, release, direction, common, source, fresh, own))
    rows = [{k: v for k, v in asdict(d).items() if k != "occurrence"} for d in results]
    batches = pa.Table.from_pylist(rows, schema=schema.DRIFT).to_batches()
    tables.replace(drift_table(release.space), schema.DRIFT, batches, "false")
    return results


def _fresh_queries(workspace: Workspace, release: Release, modality: str) -> tuple[str, np.ndarray]:
    """Distinct queries that are newer than the release, and their source, "log" or "corpus".

    These are the logged queries; if there are fewer than `LEAST` of them, the parts of samples
    that arrived since, unless those are fewer still. Vectors (n, d) float32.
    """
    logged = _logged_queries(workspace, release, modality)
    if len(logged) >= LEAST:
        return "log", logged
    arrived = _new_parts(workspace.tables, release, modality)
    return ("corpus", arrived) if len(arrived) >= len(logged) else ("log", logged)


def _logged_queries(workspace: Workspace, release: Release, modality: str) -> np.ndarray:
    rows = query_log.read(
        workspace.tables, release.space, workspace.config.query_log, since=release.created_at
    )
    comparable = pc.and_(
        pc.equal(rows["modality"], modality),
        pc.equal(rows["fingerprint"], release.query_fingerprints.get(modality, "")),
    )
    # A query counts once however often it was logged: repeats would make hubs of its answers.
    return np.unique(as_matrix(rows.filter(comparable)["vector"]), axis=0)


def _new_parts(tables: Tables, release: Release, modality: str) -> np.ndarray:
    """Vectors of embedded parts of drops read since the release, not in its gallery or banks."""
    since = pc.field("published_at") > pa.scalar(release.created_at)
    stages = tables.open("stages").to_table(columns=["drop", "stage"], filter=since)
    drops = stages.filter(pc.equal(stages["stage"], "samples"))["drop"].to_pylist()
    column = f"{modality}_id"
    parts = tables.scan("samples", schema.SAMPLES, [column], one_of("drop", drops))[column]
    released = [
        tables.open(name, version=release.versions[name]).to_table(columns=["part_id"])["part_id"]
        for name in (release.gallery(modality), bank_table(release.space))
    ]
    new = set(parts.to_pylist()) - {None}.union(*(ids.to_pylist() for ids in released))
    vectors = tables.open(vectors_table(release.space))
    encoder = f"encoder = {quote(release.fingerprints.get(modality, ''))}"
    rows = vectors.to_table(
        columns=["vector"], filter=f"{encoder} AND {one_of('part_id', sorted(new))}"
    )
    return as_matrix(rows["vector"])


def _own_queries(banks: Banks, modality: str) -> np.ndarray:
    """Queries like those of the release's bank that no correction was fitted on, (n, d)."""
    reference = banks.part("reference", modality)[0]
    return reference if len(reference) >= LEAST else banks.pair_queries("test", modality)[0]


def _no_verdict(common: dict[str, Any], fresh: int, own: int) -> Drift:
    available = (
        f"{fresh} fresh queries so far"
        if fresh < LEAST
        else f"the release has {own} queries to compare with"
    )
    note = f"no verdict: {available}, at least {LEAST} are needed"
    return Drift(**common, queries=fresh, note=note)


def _compare(
    workspace: Workspace,
    release: Release,
    direction: Direction,
    common: dict[str, Any],
    source: str,
    fresh: np.ndarray,
    own: np.ndarray,
) -> Drift:
    name = release.gallery(direction.gallery)
    dataset = workspace.tables.open(name, version=release.versions[name])
    gallery, correction = read_compiled(dataset, direction, release.dim)
    count, seed = min(len(fresh), len(own), _MOST), workspace.config.corrections.seed
    rng, items = np.random.default_rng(seed), len(gallery.parts)
    lists = {}
    for side, queries in (("release's own", own), ("fresh", fresh)):
        sample = queries[rng.choice(len(queries), count, replace=False)]
        lists[side] = np.asarray(correction.rank(sample, K)[0])
    difference = _difference(lists["fresh"], lists["release's own"], items, rng)
    counts = {side: k_occurrence(rows, items) for side, rows in lists.items()}
    drifted = difference.low > common["bound"]
    note = "about as skewed as for the release's own queries"
    if drifted:
        note = f"hubs come back: {difference.mean:+.2f} in skewness"
        if source == "log" and "log" not in workspace.config.corrections.query_bank:
            note += "; a refit uses the log only with corrections.query_bank: [corpus, log]"
    return Drift(
        **common,
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
    """The difference in skewness of k-occurrence between fresh and own queries.

    Both sides are resampled by query (percentile bootstrap).

    Args:
        fresh, own: (m, k) result lists of gallery rows.
        items: the size of the gallery.
    """

    def resampled(lists: np.ndarray) -> float:
        return skewness(k_occurrence(lists[rng.integers(len(lists), size=len(lists))], items))

    mean = skewness(k_occurrence(fresh, items)) - skewness(k_occurrence(own, items))
    drawn = [resampled(fresh) - resampled(own) for _ in range(_RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(mean, float(low), float(high))
