"""Checks of each space that warn: age of the release, hubs that may be planted, drift."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import numpy as np

from assets.metadata.markdown import picture, table
from store.errors import NotFoundError
from store.metrics.poisoned_hubs import suspects
from store.tables import releases, schema
from store.tables.banks import Banks
from store.tables.drift import DRIFT_HEADERS, Drift, drift_cells
from store.tables.names import bank_table, gallery_table
from store.workspace import Workspace

RELEASE_DAYS = 8


def warning(passed: bool, problem: str, metadata: dict[str, Any]) -> dg.AssetCheckResult:
    """The result of a check that warns."""
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if passed else problem,
        metadata=metadata,
    )


def release_is_fresh(corpus: Workspace) -> dg.AssetCheckResult:
    """The newest release is at most eight days old."""
    last = releases.latest_release(corpus.tables, corpus.config.space)
    days = (datetime.now(UTC) - last.created_at).total_seconds() / 86_400
    return warning(
        days <= RELEASE_DAYS,
        f"release {last.number} is {days:.1f} days old: look for runs that failed",
        {"days": days},
    )


def no_planted_hubs(corpus: Workspace) -> dg.AssetCheckResult:
    """No item is among the answers of an unusual share of unrelated queries of the bank.

    At most 0.2% of a gallery is reported.
    """
    rows = list(_planted_hubs(corpus))
    return warning(
        not rows,
        f"{len(rows)} items answer an unusual share of the queries: look at them, and remove them"
        " with `isotrope takedown --id` if they were planted",
        {"suspects": table(("gallery", "queries", "sample", "caption", "share"), rows)},
    )


def _planted_hubs(corpus: Workspace) -> Iterator[tuple[Any, ...]]:
    from pipelines.gallery.k_occurrence import MOST_QUERIES

    tables, space = corpus.tables, corpus.config.space
    banks = Banks(tables.open(bank_table(space)).to_table())
    counts = {m: min(len(banks.queries(m).vectors), MOST_QUERIES) for m in schema.MODALITIES}
    for modality in schema.MODALITIES:
        name = gallery_table(space, modality)
        if (dataset := tables.open_or_none(name)) is None:
            continue
        columns = ["id", "caption", *(f"occurrence_{m}" for m in counts)]
        rows = dataset.to_table(columns)
        for query, count in counts.items():
            if rows[f"occurrence_{query}"].null_count or not count:
                continue
            occurrence = np.asarray(rows[f"occurrence_{query}"])
            for index in suspects(occurrence, count):
                row = rows.slice(index, 1).to_pylist()[0]
                share = occurrence[index] / count
                yield modality, query, row["id"], (row["caption"] or "")[:60], f"{share:.0%}"


def no_drift(corpus: Workspace) -> dg.AssetCheckResult:
    """Recent queries find no more hubs than the release's own, up to corrections.drift_bound."""
    from pipelines.release.drift import measure_drift

    measured = measure_drift(corpus)
    drifted = [d for d in measured if d.drifted]
    reported = drifted or [d for d in measured if d.drifted is None] or measured
    return dg.AssetCheckResult(
        passed=not drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{d.direction}: {d.note}" for d in reported),
        metadata=_drift_metadata(measured),
    )


def _drift_metadata(measured: list[Drift]) -> dict[str, Any]:
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


_CHECKS = (("release", release_is_fresh), ("gallery", no_planted_hubs), ("release", no_drift))


def space_health_checks(
    assets: Mapping[str, dg.AssetsDefinition], space: str | None
) -> list[dg.AssetChecksDefinition]:
    """The checks of a space that warn; their names and descriptions are the functions'.

    Args:
        assets: those of the space, by stage.
        space: its name. None: the main space.
    """
    return [_check(assets[stage], run, space) for stage, run in _CHECKS]


def _check(
    asset: dg.AssetsDefinition,
    run: Callable[[Workspace], dg.AssetCheckResult],
    space: str | None,
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=run.__name__, description=inspect.getdoc(run), blocking=False)
    def check(corpus: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
        try:
            return run(corpus.of_space(space))
        except NotFoundError as error:  # a space that has no release yet
            return warning(False, str(error), {})

    return check
