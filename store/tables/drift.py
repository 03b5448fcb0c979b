"""Reads the table `drift__{space}`: whether the hubness of fresh queries has grown.

Sensors and the command line read this table, so importing this module must be fast.
"""

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
    """One measurement of one direction of a release.

    Attributes:
        measured_at: when it was measured.
        release: the number of the release.
        direction: such as "text->image".
        bound: the direction has drifted if `low` is above this.
        queries: how many queries were compared on each side. Without a verdict, how many fresh
            queries there are.
        note: the verdict in words, or why there is none.
        source: where the fresh queries come from: "log" or "corpus".
        fresh: k-occurrence skewness of the fresh queries.
        reference: k-occurrence skewness of the release's own queries.
        low: lower end of the 95% interval of `fresh - reference`, over queries.
        high: upper end of this interval.
        drifted: the verdict. None if there is none.
        occurrence: for each side, how many items are in 0, 1, 2 ... result lists. Not stored.
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


def latest_drift(tables: Tables, release: Release) -> list[Drift]:
    """The last measurement of a release, one entry for each direction. Empty if there is none."""
    where = f"release = {release.number}"
    rows = tables.scan(drift_table(release.space), schema.DRIFT, where=where)
    if not rows.num_rows:
        return []
    newest = rows.filter(pc.equal(rows["measured_at"], pc.max(rows["measured_at"])))
    return [Drift(**row) for row in newest.to_pylist()]


DRIFT_HEADERS = ("direction", "queries", "from", "own", "fresh", "difference", "bound", "verdict")


def drift_cells(d: Drift) -> tuple[Any, ...]:
    """The cells of a printed table with the column titles `DRIFT_HEADERS`."""
    interval = None if d.low is None else f"{d.low:+.2f} to {d.high:+.2f}"
    verdict = {None: "none yet", True: "drifted", False: "no drift"}[d.drifted]
    return (
        d.direction, d.queries, d.source, d.reference, d.fresh, interval, d.bound, verdict
    )  # fmt: skip
