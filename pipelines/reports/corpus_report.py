"""The page about a corpus: what it is, what was kept and why, searches, the release's figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.reports.html import number, write
from pipelines.reports.measures import GEOMETRY, Measure, ends, listed, sides
from pipelines.reports.plots import Bar, funnel
from pipelines.reports.retrieval_plots import ABOUT, draw
from store.tables import releases, schema
from store.tables.lance_tables import Tables, one_of
from store.tables.releases import Release
from store.tables.stages import BY_DROP, EVERY_DROP, FUNNEL, GLOBAL, STAGES
from store.workspace import Workspace

COUNTS = ("input", "kept", "rejected", "failed")
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
    stages = tables.scan("stages", schema.STAGES).to_pylist()
    by_drop, total = _funnels(tables, stages)
    bars = [Bar(s["stage"], *(s[c] for c in COUNTS[1:])) for s in total if s["stage"] in FUNNEL]
    return write(
        "report.html.j2",
        out,
        name=workspace.root.name,
        release=release,
        changed=max((s["published_at"] for s in stages), default=None),
        held=_held(tables, total, release),
        drops=by_drop,
        total=total,
        units={stage.name: stage.counts for stage in STAGES.values()},
        funnel=_both(partial(funnel, bars)) if bars else None,
        reasons=_reasons(tables),
        searches=searches,
        directions=_directions(release) if release else [],
        about=ABOUT,
    )


def _funnels(
    tables: Tables, stages: list[dict[str, Any]]
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """Counts of each stage in the order of data: by drop, and over all drops."""
    by_drop: dict[str, list[dict[str, Any]]] = {}
    total = []
    for stage in (*BY_DROP, *GLOBAL):
        rows = [s for s in stages if s["stage"] == stage]
        for row in rows:
            if row["drop"] != EVERY_DROP:
                by_drop.setdefault(row["drop"], []).append(row)
        if rows:
            sums = {c: sum(r[c] for r in rows) for c in (*COUNTS, "seconds")}
            total.append({"stage": stage, **sums})
    decided = _grouped(tables.scan("decisions", schema.DECISIONS), ["drop", "keep"], [])
    found = {(d["drop"], d["keep"]): d["count_all"] for d in decided}
    for drop, rows in by_drop.items():
        keep, reject = found.get((drop, True), 0), found.get((drop, False), 0)
        if keep or reject:
            counts = dict(zip(COUNTS, (keep + reject, keep, reject, 0), strict=True))
            rows.append({"stage": "decisions", **counts})
    return dict(sorted(by_drop.items())), total


def _held(
    tables: Tables, total: list[dict[str, Any]], release: Release | None
) -> list[tuple[int, str]]:
    """The few numbers that say how large the corpus is."""
    by_stage = {s["stage"]: s for s in total}
    held = []
    if "samples" in by_stage:
        held.append((by_stage["samples"]["input"], "samples delivered"))
    if "decisions" in by_stage:
        held.append((by_stage["decisions"]["kept"], "samples kept"))
    if release is not None:
        for modality in release.modalities:
            gallery = tables.open(release.gallery(modality), version=release.tag)
            held.append((gallery.count_rows(), f"{modality} parts to search"))
    return held


def _reasons(tables: Tables) -> list[dict[str, Any]]:
    """Why records were lost, the most frequent reason first, each with one example."""
    lost = tables.scan("ledger", schema.LEDGER)
    rows = _grouped(lost, ["stage", "outcome", "rule"], ["key", "value", "threshold", "error"])
    decided = tables.scan("decisions", schema.DECISIONS, where="NOT keep")
    rejected = _grouped(decided, ["rule"], ["id", "value", "threshold"])
    known = tables.scan(
        "samples", schema.SAMPLES, ["id", "key"], one_of("id", {r["id"] for r in rejected})
    )
    keys = dict(zip(known["id"].to_pylist(), known["key"].to_pylist(), strict=True))
    for row in rejected:
        key = keys.get(row["id"], row["id"])
        rows.append({**row, "stage": "decisions", "outcome": "rejected", "key": key, "error": None})
    return sorted(rows, key=lambda r: -r["count_all"])[:_MOST_RULES]


def _grouped(rows: pa.Table, by: list[str], example: list[str]) -> list[dict[str, Any]]:
    from pyarrow.compute import CountOptions, ScalarAggregateOptions

    # The example's cells must be of one record, so a null first cell is not skipped.
    first = ScalarAggregateOptions(skip_nulls=False)
    wanted = [([], "count_all", CountOptions(mode="all")), *((c, "first", first) for c in example)]
    found = rows.group_by(by, use_threads=False).aggregate(wanted).to_pylist()
    return [{name.removesuffix("_first"): v for name, v in row.items()} for row in found]


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
