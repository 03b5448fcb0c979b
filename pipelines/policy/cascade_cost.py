"""What a policy's cascade costs, saves and loses, counted from the table `signals`; no model runs.

Losses are measured by cross-validation: the random sample of a drop is divided into folds, and the
predictors that are fitted on the other folds decide on each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy.cascade import (
    Plan,
    Step,
    by_predictors,
    decide,
    fit_plan,
    of_sample,
    plan_of,
)
from pipelines.policy.signal_columns import packed, rows_by_drop
from store.config.policy import Policy
from store.tables.cascade_notes import KEEP, REJECT, parse_notes, seconds_of
from store.workspace import Workspace

_FOLDS = 5
_ROWS = 1 << 16  # that are decided at a time


@dataclass
class CascadeCost:
    """What one scorer of a cascade does with the samples that have its part.

    Attributes:
        samples: their number.
        measured: those that it has measured and needs.
        to_measure: those that it needs and has not measured: a run would do it.
        by_rule: those that a rule rejects by an earlier signal.
        kept, rejected: those whose outcome is predicted.
        seconds: of processor for a sample, where it has been measured in a cascade.
        loss: the stated one; None if its outcome is not predicted.
        lost: of the sample's rows that its rules keep: how many are rejected wrongly, of how many.
        kept_wrongly: of those that its rules reject: how many are kept, of how many.
    """

    samples: int = 0
    measured: int = 0
    to_measure: int = 0
    by_rule: int = 0
    kept: int = 0
    rejected: int = 0
    seconds: float | None = None
    loss: float | None = None
    lost: tuple[int, int] = (0, 0)
    kept_wrongly: tuple[int, int] = (0, 0)

    @property
    def skipped(self) -> int:
        """The samples that it does not need."""
        return self.by_rule + self.kept + self.rejected

    @property
    def saved(self) -> float | None:
        """The processor seconds that are saved."""
        return None if self.seconds is None else self.seconds * self.skipped


def cascade_costs(workspace: Workspace, policy: Policy) -> dict[str, CascadeCost]:
    """The cost of each scorer of a policy's cascade; none if there is no cascade.

    Reads the numeric signals of all samples into memory, 4 bytes each.
    """
    plan = plan_of(policy)
    if policy.cascade is None:
        return {}
    costs = {
        step.scorer: CascadeCost(loss=policy.cascade.loss if step.predicted else None)
        for step in plan.steps
    }
    table = packed(workspace, ["id", *plan.reads, "cascade"])
    times: dict[str, list[float]] = {step.scorer: [] for step in plan.steps}
    for own in rows_by_drop(table).values():
        rows = table.take(pa.array(own))
        if not any(step.predicted for step in plan.steps):
            _add_counts(costs, times, plan, rows)
            continue
        sample = pc.select_k_unstable(rows, policy.cascade.sample, [("id", "ascending")])
        drawn = np.isin(np.arange(rows.num_rows), sample.to_numpy())
        fitted = fit_plan(policy, rows.take(sample))
        _add_losses(costs, policy, rows.take(sample))
        _add_counts(costs, times, of_sample(plan), rows.filter(pa.array(drawn)))
        _add_counts(costs, times, fitted, rows.filter(pa.array(~drawn)))
    for name, cost in costs.items():
        cost.seconds = float(np.mean(times[name])) if times[name] else None
    return costs


def _add_counts(
    costs: dict[str, CascadeCost], times: dict[str, list[float]], plan: Plan, table: pa.Table
) -> None:
    for start in range(0, table.num_rows, _ROWS):
        _add_block(costs, times, plan, table.slice(start, _ROWS))


def _add_block(
    costs: dict[str, CascadeCost], times: dict[str, list[float]], plan: Plan, rows: pa.Table
) -> None:
    columns = {name: rows[name].combine_chunks() for name in plan.reads}
    decided = decide(plan, columns, _nothing, by_predictors(plan)).dictionary_encode()
    for step in plan.steps:
        cost = costs[step.scorer]
        has_part = np.asarray(columns[step.part].is_valid())
        earlier = _notes(rows["cascade"].combine_chunks(), step.scorer)
        seconds = np.array([seconds_of(note) for note in earlier], np.float64)
        measured = ~np.isnan(seconds)
        times[step.scorer] += seconds[measured & has_part].tolist()
        for name in step.columns:  # also what was measured before there was a cascade
            measured |= np.asarray(columns[name].is_valid())
        note = _notes(decided, step.scorer)
        needed, kept, rejected = (has_part & (note == each) for each in (None, KEEP, REJECT))
        cost.samples += int(has_part.sum())
        cost.measured += int((needed & measured).sum())
        cost.to_measure += int((needed & ~measured).sum())
        cost.kept += int(kept.sum())
        cost.rejected += int(rejected.sum())
        cost.by_rule += int((has_part & ~needed & ~kept & ~rejected).sum())


def _add_losses(costs: dict[str, CascadeCost], policy: Policy, sample: pa.Table) -> None:
    for fold, others in _folds(sample):
        plan = fit_plan(policy, others)
        columns = {name: fold[name].combine_chunks() for name in plan.reads}
        decided = decide(plan, columns, _nothing, by_predictors(plan)).dictionary_encode()
        for step in plan.steps:
            if not step.predicted:
                continue
            broken = np.zeros(fold.num_rows, bool)
            for test in step.tests:
                broken |= test.broken(columns[test.signal])
            note = _notes(decided, step.scorer)
            needed, kept, rejected = (note == each for each in (None, KEEP, REJECT))
            asked = (needed | kept | rejected) & np.asarray(columns[step.part].is_valid())
            cost = costs[step.scorer]
            cost.lost = _added(cost.lost, rejected & ~broken, asked & ~broken)
            cost.kept_wrongly = _added(cost.kept_wrongly, kept & broken, asked & broken)


def _notes(column: pa.DictionaryArray, scorer: str) -> np.ndarray:
    """The notes of a scorer, (n,) of strings and None; each distinct text is parsed once."""
    notes = [parse_notes(text).get(scorer) for text in column.dictionary.to_pylist()]
    return np.array([*notes, None], object)[pc.fill_null(column.indices, len(notes)).to_numpy()]


def _folds(sample: pa.Table) -> Iterator[tuple[pa.Table, pa.Table]]:
    for number in range(_FOLDS):
        held = np.arange(sample.num_rows) // 2 % _FOLDS == number
        yield sample.filter(pa.array(held)), sample.filter(pa.array(~held))


def _added(sums: tuple[int, int], wrong: np.ndarray, of: np.ndarray) -> tuple[int, int]:
    return sums[0] + int(wrong.sum()), sums[1] + int(of.sum())


def _nothing(step: Step, needed: np.ndarray) -> None:
    """Measures nothing: the columns have what was measured before."""
