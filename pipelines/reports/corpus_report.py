"""Writes the corpus report: counts of every stage, searches, and the release's evaluation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.reports.html import number, write
from pipelines.reports.measures import GEOMETRY, Measure, ends, measures_of, searched, sides
from pipelines.reports.outcomes import StageCounts, read_outcomes, total_by_rule, with_keys
from pipelines.reports.plots import Bar, funnel
from pipelines.reports.retrieval_plots import ABOUT, draw
from store.tables import releases
from store.tables.lance_tables import Tables
from store.tables.releases import Release
from store.tables.stages import FUNNEL, stage_of
from store.workspace import Workspace

_MOST_RULES = 40


@dataclass(frozen=True)
class Search:
    """An example search of the report.

    Attributes:
        title: its heading.
        query_text: the text of the query, or None.
        query_image: encoded thumbnail of the query's image, or None.
        rows: results, best first, with scores, key, caption and thumbnail.
        method: the correction that ranked them.
        complete: whether they are proven to be the best.
    """

    title: str
    query_text: str | None
    query_image: bytes | None
    rows: list[dict[str, Any]]
    method: str
    complete: bool


def write_report(workspace: Workspace, out: Path, searches: list[Search]) -> Path:
    """Write the report of a corpus to the file `out`; a corpus without a release has one too."""
    tables = workspace.tables
    published = releases.list_releases(tables)
    main_space = workspace.config.space
    release = releases.latest_release(tables, main=main_space) if published else None
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
        sizes=_sizes(tables, totals, release),
        drops=outcomes.by_drop(),
        totals=list(totals.values()),
        units={name: stage_of(name).counts for name in totals},
        funnel=_light_and_dark(partial(funnel, bars)) if bars else None,
        reasons=with_keys(tables, total_by_rule(outcomes.reasons)[:_MOST_RULES]),
        searches=searches,
        directions=_directions(release) if release else [],
        about=ABOUT,
    )


def _sizes(
    tables: Tables, totals: Mapping[str, StageCounts], release: Release | None
) -> list[tuple[int, str]]:
    """(number, what it counts): how large the corpus is."""
    sizes = []
    if "samples" in totals:
        sizes.append((totals["samples"].input, "samples delivered"))
    if "decisions" in totals:
        sizes.append((totals["decisions"].kept, "samples kept"))
    if release is not None:
        for modality in release.modalities:
            gallery = tables.open(release.gallery(modality), version=release.tag)
            sizes.append((gallery.count_rows(), f"searchable {modality} parts"))
    return sizes


def _directions(release: Release) -> list[dict[str, Any]]:
    """The choice, measures and plots of each direction; evaluated directions first."""
    shown = []
    for name, direction in release.directions.items():
        figures = release.evaluation.get(name, {})
        compared = sides(figures, direction.method)
        light, dark = (draw(direction, figures, dark) for dark in (False, True))
        shown.append(
            {
                "choice": direction,
                "figures": figures,
                "sides": compared,
                "searched": searched(figures) if "gallery" in figures else "",
                "rows": [_measure_row(figures, m, compared) for m in measures_of(figures)],
                "geometry": {GEOMETRY[g]: figures[g] for g in GEOMETRY if g in figures},
                "plots": {name: {"light": light[name], "dark": dark[name]} for name in light},
            }
        )
    return sorted(shown, key=lambda d: not d["rows"])


def _measure_row(
    figures: Mapping[str, Any], measure: Measure, compared: list[str]
) -> dict[str, Any]:
    """A row of the table of measures: (text, whether it is the better one, interval) by side."""
    values = [figures[side].get(measure.key) for side in compared]
    finite = [v for v in values if v is not None and math.isfinite(v)]
    best = max((v * measure.better for v in finite), default=None)
    is_tie = len(set(finite)) < 2
    cells = []
    for side, value in zip(compared, values, strict=True):
        is_best = not is_tie and value in finite and value * measure.better == best
        interval = figures.get("intervals", {}).get(side, {}).get(measure.key)
        cells.append((number(value, measure.form), is_best, ends(interval, measure.form)))
    return {"label": measure.label, "cells": cells}


def _light_and_dark(draw: Callable[..., bytes]) -> dict[str, bytes]:
    return {"light": draw(), "dark": draw(dark=True)}
