"""The page about a corpus: what it is, what was kept and why, searches, the release's figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.reports.html import number, write
from pipelines.reports.measures import GEOMETRY, Measure, ends, listed, sides
from pipelines.reports.outcomes import StageCounts, read_outcomes, total_by_rule, with_keys
from pipelines.reports.plots import Bar, funnel
from pipelines.reports.retrieval_plots import ABOUT, draw
from store.tables import releases
from store.tables.lance_tables import Tables
from store.tables.releases import Release
from store.tables.stages import FUNNEL, STAGES
from store.workspace import Workspace

_MOST_RULES = 40


@dataclass(frozen=True)
class Search:
    """A search to show.

    Args:
        title: what it is.
        query_text: the text asked for, or None.
        query_image: encoded thumbnail of the image asked for, or None.
        rows: hits, best first, with the columns key, caption and thumbnail after the scores.
        method: the correction that ranked them.
        complete: whether they are proven the best.
    """

    title: str
    query_text: str | None
    query_image: bytes | None
    rows: list[dict[str, Any]]
    method: str
    complete: bool


def write_report(workspace: Workspace, out: Path, searches: list[Search]) -> Path:
    """Write the page of a corpus to `out`, from its tables and its newest release if it has one."""
    tables = workspace.tables
    published = releases.listed(tables)
    release = published[-1] if published else None
    outcomes = read_outcomes(workspace)
    totals = outcomes.totals()
    bars = [
        Bar(c.stage, c.kept, c.rejected, c.failed) for c in totals.values() if c.stage in FUNNEL
    ]
    return write(
        "report.html.j2",
        out,
        name=workspace.root.name,
        release=release,
        changed=max((c.published_at for c in outcomes.stages if c.published_at), default=None),
        held=_held(tables, totals, release),
        drops=outcomes.by_drop(),
        total=list(totals.values()),
        units={stage.name: stage.counts for stage in STAGES.values()},
        funnel=_both(partial(funnel, bars)) if bars else None,
        reasons=with_keys(tables, total_by_rule(outcomes.reasons)[:_MOST_RULES]),
        searches=searches,
        directions=_directions(release) if release else [],
        about=ABOUT,
    )


def _held(
    tables: Tables, totals: dict[str, StageCounts], release: Release | None
) -> list[tuple[int, str]]:
    """The few numbers that say how large the corpus is."""
    held = []
    if "samples" in totals:
        held.append((totals["samples"].input, "samples delivered"))
    if "decisions" in totals:
        held.append((totals["decisions"].kept, "samples kept"))
    if release is not None:
        for modality in release.modalities:
            gallery = tables.open(release.gallery(modality), version=release.tag)
            held.append((gallery.count_rows(), f"{modality} parts to search"))
    return held


def _directions(release: Release) -> list[dict[str, Any]]:
    """Each direction's choice, and where it was evaluated, its figures and pictures."""
    shown = []
    for name, direction in release.directions.items():
        found = release.evaluation.get(name, {})
        compared = sides(found, direction.method)
        light, dark = (draw(direction, found, dark) for dark in (False, True))
        shown.append(
            {
                "way": direction,
                "found": found,
                "sides": compared,
                "rows": [_figure(found, m, compared) for m in listed(found)],
                "geometry": {GEOMETRY[g]: found[g] for g in GEOMETRY if g in found},
                "drawn": {what: {"light": light[what], "dark": dark[what]} for what in light},
            }
        )
    return sorted(shown, key=lambda d: not d["rows"])


def _figure(found: dict[str, Any], measure: Measure, compared: list[str]) -> dict[str, Any]:
    """One measure's cells: text, whether it is the better one, and its interval."""
    values = [found[side].get(measure.key) for side in compared]
    comparable = [v for v in values if v is not None and math.isfinite(v)]
    best = max((v * measure.better for v in comparable), default=None)
    tied = len(set(comparable)) < 2
    cells = []
    for side, value in zip(compared, values, strict=True):
        wins = not tied and value in comparable and value * measure.better == best
        interval = found.get("intervals", {}).get(side, {}).get(measure.key)
        cells.append((number(value, measure.form), wins, ends(interval, measure.form)))
    return {"label": measure.label, "cells": cells}


def _both(draw: Callable[..., bytes]) -> dict[str, bytes]:
    return {"light": draw(), "dark": draw(dark=True)}
