"""Runs the scorers of a policy's cascade on the samples of a batch that need them."""

import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine.crash_markers import CrashMarkers
from pipelines.policy.cascade import (
    Plan,
    Step,
    by_predictors,
    decide,
    fit_plan,
    of_sample,
    plan_of,
)
from pipelines.signals.decoded_image import KeptImages
from pipelines.signals.scorer import Scorer
from pipelines.signals.scoring import Scored, score_skipping_crashes
from store.config.policy import Policy
from store.tables import schema
from store.tables.cascade_notes import parse_notes
from store.tables.staging import StageRun

_TYPES = {f.name: f.type for f in schema.SIGNALS}
_SCAN_ROWS = 65_536


def sample_end(samples: lance.LanceDataset, drop_filter: str, count: int) -> str:
    """The largest id of the `count` samples of a drop with the smallest ids; "" without samples."""
    smallest: list[str] = []
    scanner = samples.scanner(columns=["id"], filter=drop_filter, batch_size=_SCAN_ROWS)
    for batch in scanner.to_batches():
        smallest = heapq.nsmallest(count, [*smallest, *batch["id"].to_pylist()])
    return smallest[-1] if smallest else ""


def fit_staged(policy: Policy, run: StageRun, end: str) -> Plan:
    """Fit the cascade on the staged rows of the random sample, whose ids are at most `end`."""
    reads = plan_of(policy).reads
    rows = [
        batch.filter(pc.less_equal(batch["id"], end))
        for batch in run.scan(list(dict.fromkeys(["id", *reads])))
    ]
    return fit_plan(policy, pa.Table.from_batches(rows).sort_by("id"))


def measure_late(
    plan: Plan,
    sampled: bool,
    scorers: Mapping[str, Scorer],
    batch: pa.RecordBatch,
    done: Scored,
    earlier: Sequence[str | None],
    markers: CrashMarkers,
    kept: KeptImages | None,
) -> list[dict[str, str]]:
    """Measure the samples of a batch that the scorers of a cascade need.

    Args:
        plan: of the cascade.
        sampled: whether the samples are of the random sample, which is measured by all scorers.
        scorers: those of the cascade that have not measured these samples yet, by name.
        batch: rows of `samples`.
        done: the columns of the other scorers, which get those of the cascade.
        earlier: the column `cascade` of the samples' earlier rows; null without one.
        markers, kept: see `score_skipping_crashes`.

    Returns:
        What the column `cascade` says of each sample, by scorer.
    """
    notes = [
        {name: note for name, note in parse_notes(text).items() if name not in scorers}
        for text in earlier
    ]
    rows = batch.num_rows
    columns = {
        name: done.columns.get(name, pa.nulls(rows)).cast(_TYPES[name]) for name in plan.reads
    }

    def measure(step: Step, needed: np.ndarray) -> None:
        scorer = scorers.get(step.scorer)
        if scorer is None:  # measured before
            return
        positions = np.flatnonzero(needed)
        if len(positions):
            started = time.process_time()
            part = score_skipping_crashes(batch.filter(pa.array(needed)), [scorer], markers, kept)
            own = np.flatnonzero(needed & np.asarray(columns[step.part].is_valid()))
            seconds = (time.process_time() - started) / max(1, len(own))
            for row in own.tolist():
                notes[row][step.scorer] = f"{seconds:.3g}s"
            done.failed += [(int(positions[row]), n, error) for row, n, error in part.failed]
        order = np.cumsum(needed) - 1
        taken = pa.array(order, mask=~needed)
        for name in step.columns:
            empty = pa.nulls(rows, _TYPES[name])
            columns[name] = part.columns[name].take(taken) if len(positions) else empty
            done.columns[name] = columns[name]

    steps = of_sample(plan) if sampled else _without_predictions(plan, scorers)
    skipped = decide(steps, columns, measure, by_predictors(plan))
    for note, text in zip(notes, skipped.to_pylist(), strict=True):
        note |= {name: why for name, why in parse_notes(text).items() if name in scorers}
    return notes


def _without_predictions(plan: Plan, scorers: Mapping[str, Scorer]) -> Plan:
    """The plan, with predictions for these scorers only: the others have measured the samples."""
    steps = (replace(s, predicted=s.predicted and s.scorer in scorers) for s in plan.steps)
    return replace(plan, steps=tuple(steps))
