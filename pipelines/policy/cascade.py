"""The cascade of a policy: which samples its expensive scorers need to measure.

A scorer of the cascade measures a sample unless

- a rule rejects the sample by a signal that comes before: then its value decides nothing; or
- with `loss`, its rules' outcome is predicted from the signals that come before.

After SGUQ (Tao et al. 2024), which takes its next modality only where the first one is uncertain.
The column `cascade` of `signals` says which (`store.tables.cascade_notes`). Every drop is
calibrated by itself, on the samples with the smallest ids: ids are hashes, so these are random.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy.cascade_predictor import (
    KEEP,
    REJECT,
    UNCERTAIN,
    Columns,
    Predictor,
    fit_predictor,
)
from pipelines.policy.row_rules import PREDICTED, RowTest, prefilter
from store.config.policy import Policy
from store.tables import cascade_notes, schema
from store.tables.signals import optional_scorers


@dataclass(frozen=True)
class Step:
    """One scorer of a cascade.

    Attributes:
        scorer: its name.
        columns: the signals that it gives.
        part: a column that is null for samples without the part that the scorer measures.
        tests: the policy's tests of its signals.
        predicted: whether their outcome is predicted.
        signals: the numeric signals that come before.
    """

    scorer: str
    columns: tuple[str, ...]
    part: str
    tests: tuple[RowTest, ...]
    predicted: bool
    signals: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What decides which samples of a drop are measured; picklable.

    Attributes:
        tests: of signals that all samples have.
        steps: in the order of the cascade.
        predictors: fitted ones, by scorer.
    """

    tests: tuple[RowTest, ...]
    steps: tuple[Step, ...]
    predictors: Mapping[str, Predictor] = field(default_factory=dict)

    @property
    def reads(self) -> list[str]:
        """All columns of `signals` that a decision reads."""
        names = [test.signal for test in self.tests]
        for step in self.steps:
            names += [step.part, *step.signals, *step.columns]
        return list(dict.fromkeys(names))


_PARTS = {"image": "image_bytes", "text": "text_chars", "audio": "audio_bytes"}  # null without one
_PREDICTED_TESTS = {"min", "max", "in", "not_in"}
_OTHER_USES = ("by", "largest", "smallest")  # of a signal, by other steps of a policy
Measure = Callable[[Step, np.ndarray], None]
Predict = Callable[[Step, Columns, np.ndarray], np.ndarray]


def plan_of(policy: Policy) -> Plan:
    """The plan of a policy's cascade, without predictors; without steps if there is no cascade."""
    cascade = policy.cascade
    if cascade is None:
        return Plan((), ())
    by_scorer, tests = optional_scorers(), prefilter(policy)
    late = {column for name in cascade.scorers for column in by_scorer[name]}
    before = [n for n, t in schema.SIGNAL_TYPES.items() if n not in late and not schema.is_text(t)]
    predicted, steps = predictable(policy), []
    for name in cascade.scorers:
        columns = by_scorer[name]
        own = tuple(test for test in tests if test.signal in columns)
        part = _PARTS[columns[0].partition("_")[0]]
        steps.append(Step(name, columns, part, own, name in predicted, tuple(before)))
        before += [n for n in columns if not schema.is_text(schema.SIGNAL_TYPES[n])]
    early = (t for t in tests if t.signal not in late and t.operator != PREDICTED)
    return Plan(tuple(early), tuple(steps))


def predictable(policy: Policy) -> list[str]:
    """The scorers of the cascade whose rules' outcome is predicted.

    Not those without rules, and not those whose values are needed for more than `min`, `max`, `in`
    and `not_in`: for a share, a cap, a group, or because a sample without a value is rejected.
    """
    cascade = policy.cascade
    if cascade is None or cascade.loss is None:
        return []
    found = []
    for name in cascade.scorers:
        columns = optional_scorers()[name]
        rules = [(c, policy.rules[c]) for c in columns if c in policy.rules]
        operators = {operator for _, rule in rules for operator, _ in rule.limits()}
        named = {getattr(step, key, None) for _, step in policy.ordered() for key in _OTHER_USES}
        if operators and operators <= _PREDICTED_TESTS and not named & set(columns):
            found.append(name)
    return found


def decide(plan: Plan, columns: Columns, measure: Measure, predict: Predict) -> pa.Array:
    """Go through the steps for some samples of a drop.

    Args:
        columns: of the samples, (n,) each; `measure` may fill those of a step.
        measure: called once for each step, with (n,) bool: the samples that need it.
        predict: gives KEEP, REJECT or UNCERTAIN, (n,) int8, of the samples that are given as bool.

    Returns:
        (n,) the notes of the scorers that a sample does not need; null where it needs all.
    """
    rows = len(columns[plan.steps[0].part])
    rejected_by = np.full(rows, "", object)
    for test in plan.tests:
        rejected_by[test.broken(columns[test.signal]) & (rejected_by == "")] = test.name
    skipped: list[np.ndarray] = []
    for step in plan.steps:
        has_part = np.asarray(columns[step.part].is_valid())
        undecided = rejected_by == ""
        reason = np.where(has_part, rejected_by, "")
        if step.predicted:
            asked = undecided & has_part
            outcome = np.where(asked, predict(step, columns, asked), UNCERTAIN)
            reason[outcome == KEEP] = cascade_notes.KEEP
            reason[outcome == REJECT] = cascade_notes.REJECT
            rejected_by[outcome == REJECT] = f"{step.scorer}.{PREDICTED}"
        measure(step, reason == "")
        for test in step.tests:
            breaks = test.broken(columns[test.signal]) & (reason == "")
            rejected_by[breaks & (rejected_by == "")] = test.name
        skipped.append(np.where(reason == "", "", f"{step.scorer}=" + reason))
    texts = (" ".join(filter(None, row)) or None for row in zip(*skipped, strict=True))
    return pa.array(texts, pa.string())


def of_sample(plan: Plan) -> Plan:
    """The plan for the random sample: all scorers measure what the early tests let through."""
    return Plan(plan.tests, tuple(replace(s, tests=(), predicted=False) for s in plan.steps))


def by_predictors(plan: Plan) -> Predict:
    """Predictions by the predictors of the plan; without one, a sample is uncertain."""

    def predict(step: Step, columns: Columns, rows: np.ndarray) -> np.ndarray:
        predictor = plan.predictors.get(step.scorer)
        if predictor is None:
            return np.zeros(len(rows), np.int8)
        return predictor.outcomes(columns)

    return predict


def fit_plan(policy: Policy, sample: pa.Table) -> Plan:
    """Fit the predictors of a policy's cascade on a random sample of a drop.

    A later step learns from what the earlier ones let through, without the values that they save.

    Args:
        sample: the columns `Plan.reads`, in the order of ids. Samples that pass the tests of early
            signals were measured by all scorers.
    """
    plan = plan_of(policy)
    loss = policy.cascade.loss if policy.cascade is not None else None
    columns = {name: sample[name].combine_chunks() for name in plan.reads}
    predictors: dict[str, Predictor] = {}

    def predict(step: Step, before: Columns, rows: np.ndarray) -> np.ndarray:
        outcome = np.zeros(len(rows), np.int8)
        mask = pa.array(rows)
        broken = np.zeros(int(rows.sum()), bool)
        for test in step.tests:
            broken |= test.broken(columns[test.signal].filter(mask))
        learned = {name: before[name].filter(mask) for name in step.signals}
        predictor = fit_predictor(learned, step.signals, broken, loss or 0.0)
        if predictor is not None:
            predictors[step.scorer] = predictor
            outcome[rows] = predictor.outcomes(learned)
        return outcome

    def hide(step: Step, needed: np.ndarray) -> None:
        for name in step.columns:
            columns[name] = _only(columns[name], needed)

    decide(plan, columns, hide, predict)
    return Plan(plan.tests, plan.steps, predictors)


def _only(column: pa.Array, rows: np.ndarray) -> pa.Array:
    """The values of some rows, (n,) bool; null elsewhere."""
    return pc.if_else(pa.array(rows), column, pa.scalar(None, column.type))
