"""The check `no_drift`: whether the corrections still fit recent queries. It is not blocking."""

from typing import Any

import dagster as dg

from assets.metadata.markdown import picture, table
from assets.spaces import MAIN
from store.tables.drift import DRIFT_HEADERS, Drift, drift_cells
from store.workspace import Workspace


@dg.asset_check(asset=MAIN["release"], blocking=False)
def no_drift(corpus: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Recent queries find no more hubs than the release's own, up to corrections.drift_bound."""
    from pipelines.release.drift import measure_drift

    measured = measure_drift(corpus)
    drifted = [d for d in measured if d.drifted]
    reported = drifted or [d for d in measured if d.drifted is None] or measured
    return dg.AssetCheckResult(
        passed=not drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{d.direction}: {d.note}" for d in reported),
        metadata=_metadata(measured),
    )


def _metadata(measured: list[Drift]) -> dict[str, Any]:
    from pipelines.reports.retrieval_plots import k_occurrence

    metadata: dict[str, Any] = {
        "k-skewness": table(DRIFT_HEADERS, [drift_cells(d) for d in measured])
    }
    for d in measured:
        if d.occurrence:
            png = k_occurrence(d.occurrence)
            alt = f"k-occurrence, {d.direction}: the release's own queries and recent ones"
            metadata[f"k-occurrence, {d.direction}"] = picture(png, alt)
    return metadata
