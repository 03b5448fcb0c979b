"""The check `no_drift` of a release: does it still fit what is asked? It blocks nothing."""

from typing import Any

import dagster as dg

from assets.corpus import release
from assets.report import picture, table
from pipelines.drift_rows import Drift
from store.workspace import Workspace

HEADS = ("direction", "queries", "from", "own", "fresh", "difference", "bound", "verdict")


@dg.asset_check(asset=release, blocking=False)
def no_drift(corpus: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Fresh queries find no more hubs than the release's own did, up to corrections.drift_bound."""
    from pipelines.drift import measure_drift

    found = measure_drift(corpus)
    drifted = [d for d in found if d.drifted]
    said = drifted or [d for d in found if d.drifted is None] or found
    return dg.AssetCheckResult(
        passed=not drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{d.direction}: {d.note}" for d in said),
        metadata=_shown(found),
    )


def _shown(found: list[Drift]) -> dict[str, Any]:
    from pipelines.retrieval_pictures import k_occurrence

    shown: dict[str, Any] = {"k-skewness": table(HEADS, [row(d) for d in found])}
    for d in found:
        if d.occurrence:
            png = k_occurrence(d.occurrence)
            about = f"k-occurrence, {d.direction}, of the release's own queries and of fresh ones"
            shown[f"picture, {d.direction}"] = picture(png, about)
    return shown


def row(d: Drift) -> tuple[Any, ...]:
    """One line of a table under `HEADS`."""
    interval = None if d.low is None else f"{d.low:+.2f} to {d.high:+.2f}"
    verdict = {None: "none yet", True: "drifted", False: "no drift"}[d.drifted]
    return (
        d.direction, d.queries, d.source, d.reference, d.fresh, interval, d.bound, verdict
    )  # fmt: skip
