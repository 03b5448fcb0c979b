"""The rows of `drift__{space}`: what was measured of a release's fresh queries. Light to import."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow.compute as pc

from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.names import drift_table
from store.tables.releases import Release


@dataclass(frozen=True)
class Drift:
    """One direction of a release, measured once.

    Attributes:
        bound: it has drifted where `low` is above.
        queries: how many on each side; where there is no verdict, how many fresh ones there are.
        note: the verdict, or why there is none, in words.
        source: where the fresh queries are from: "log" or "corpus".
        fresh, reference: k-occurrence skewness of the fresh queries and of the release's own.
        low, high: of the difference's interval at 95%, over queries.
        drifted: None where there is no verdict.
        occurrence: for each side, how many items stand in 0, 1, 2 ... lists. It is not stored.
    """

    measured_at: datetime
    release: int
    direction: str
    bound: float
    queries: int
    note: str
    source: str | None = None
    fresh: float | None = None
    reference: float | None = None
    low: float | None = None
    high: float | None = None
    drifted: bool | None = None
    occurrence: dict[str, list[int]] = field(default_factory=dict, repr=False, compare=False)


def last_measured(tables: Tables, release: Release) -> list[Drift]:
    """What was found when the release was last measured; empty where it never was."""
    here = f"release = {release.number}"
    rows = tables.scan(drift_table(release.space), schema.DRIFT, where=here)
    if not rows.num_rows:
        return []
    newest = rows.filter(pc.equal(rows["measured_at"], pc.max(rows["measured_at"])))
    return [Drift(**row) for row in newest.to_pylist()]


HEADS = ("direction", "queries", "from", "own", "fresh", "difference", "bound", "verdict")


def row(d: Drift) -> tuple[Any, ...]:
    """One line of a table under `HEADS`."""
    interval = None if d.low is None else f"{d.low:+.2f} to {d.high:+.2f}"
    verdict = {None: "none yet", True: "drifted", False: "no drift"}[d.drifted]
    return (
        d.direction, d.queries, d.source, d.reference, d.fresh, interval, d.bound, verdict
    )  # fmt: skip
