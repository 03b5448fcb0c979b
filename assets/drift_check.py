"""The check `no_drift` of a release: does it still fit what is asked? It blocks nothing."""

from typing import Any

import dagster as dg

from assets.corpus_assets import release
from assets.metadata.markdown import picture, table
from store.tables.drift import DRIFT_HEADERS, Drift, drift_cells
from store.workspace import Workspace


@dg.asset_check(asset=release, blocking=False)
def no_drift(corpus: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Fresh queries find no more hubs than the release's own did, up to corrections.drift_bound."""
    from pipelines.release.drift import measure_drift

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
    from pipelines.reports.retrieval_plots import k_occurrence

    shown: dict[str, Any] = {"k-skewness": table(DRIFT_HEADERS, [drift_cells(d) for d in found])}
    for d in found:
        if d.occurrence:
            png = k_occurrence(d.occurrence)
            about = f"k-occurrence, {d.direction}, of the release's own queries and of fresh ones"
            shown[f"picture, {d.direction}"] = picture(png, about)
    return shown
