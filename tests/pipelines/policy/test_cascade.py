"""The cascade of a policy: exact where rules decide, within the stated loss where it predicts."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.policy.cascade import Step, by_predictors, decide, fit_plan, plan_of, predictable
from pipelines.policy.cascade_predictor import KEEP, REJECT, _lower, _upper, fit_predictor
from pipelines.policy.row_rules import passes, prefilter
from store.config.corpus_yaml import parse
from store.config.policy import Policy
from store.errors import ConfigError
from store.tables import schema
from store.tables.cascade_notes import format_notes, parse_notes, reason_of, seconds_of

SIGNALS = ["image_sharpness", "image_entropy", "text_chars"]
VALUES = st.none() | st.floats(-3, 3, width=32) | st.just(math.nan)


def policy(**sections: object) -> Policy:
    return Policy.model_validate(sections)


def table(plan_reads: list[str], rows: int, **columns: list) -> pa.Table:
    """A table of signals; the others are null, and every sample has an image."""
    columns = {"image_bytes": [1] * rows, **columns}
    fields = {f.name: f.type for f in schema.SIGNALS}
    return pa.table(
        {n: pa.array(columns.get(n, [None] * rows), fields[n]) for n in (*plan_reads, "cascade")}
    )


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=30))
def test_without_loss_the_same_samples_are_kept(rows: list[tuple]) -> None:
    """What is not measured would have changed nothing: a rule before rejects the sample."""
    rules = policy(
        image_resampled={"max": 1, "null": "reject"},  # comes first, and is measured last
        image_sharpness={"min": 0},
        image_nsfw={"max": 0.5},
        cascade={"scorers": ["image_nsfw", "image_edits"]},
    )
    plan = plan_of(rules)
    names = ("image_sharpness", "image_nsfw", "image_resampled")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    full = table(plan.reads, len(rows), **columns)
    seen = {name: full[name].combine_chunks() for name in plan.reads}
    needed: dict[str, np.ndarray] = {}

    def measure(step: Step, rows: np.ndarray) -> None:
        needed[step.scorer] = rows
        for name in step.columns:
            seen[name] = pa.array(
                [v if each else None for v, each in zip(seen[name].to_pylist(), rows, strict=True)],
                seen[name].type,
            )

    notes = decide(plan, seen, measure, by_predictors(plan)).to_pylist()
    tests = prefilter(rules)
    assert [t.name for t in tests][:2] == ["image_sharpness.min", "image_nsfw.max"]
    assert (passes(tests, pa.table(seen)) == passes(tests, full)).all()
    early = passes([t for t in tests if t.signal == "image_sharpness"], full)
    assert (needed["image_nsfw"] == early).all()
    assert (needed["image_edits"] <= needed["image_nsfw"]).all()
    assert [n is None for n in notes] == needed["image_edits"].tolist()
    for note, is_early in zip(notes, early.tolist(), strict=True):
        if not is_early:
            assert parse_notes(note)["image_nsfw"] == "image_sharpness.min"
        elif note:
            assert parse_notes(note) == {"image_edits": "image_nsfw.max"}


@given(st.lists(st.floats(0, 1), min_size=0, max_size=60, unique=True), st.floats(0.01, 0.49))
def test_thresholds_leave_out_no_more_than_the_loss(values: list[float], loss: float) -> None:
    """Of n + 1 exchangeable values, the share that is beyond the threshold of the others."""
    every = np.array(values)
    beyond_upper = beyond_lower = 0
    for left_out in range(len(every)):
        others = np.delete(every, left_out)
        beyond_upper += every[left_out] > _upper(others, loss)
        beyond_lower += every[left_out] < _lower(others, loss)
    assert beyond_upper <= loss * len(every) + 1e-6
    assert beyond_lower <= loss * len(every) + 1e-6
    if loss * len(every) >= 1:  # and no threshold is stricter than it must be
        assert beyond_upper == beyond_lower == math.floor(loss * len(every) + 1e-9)


def planted(rng: np.random.Generator, rows: int) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Signals of which two tell something of an outcome, with nulls and hostile values."""
    hidden = rng.normal(size=rows)
    sharp = np.exp(2 * hidden + rng.normal(size=rows))
    sharp[::17], sharp[::23] = np.nan, np.inf
    columns = {
        "image_sharpness": pa.array(sharp, mask=rng.random(rows) < 0.1),
        "image_entropy": pa.array(hidden**2),
        "text_chars": pa.array(rng.integers(0, 9, rows)),
    }
    return columns, hidden + 0.5 * rng.normal(size=rows) > 0.8


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_the_loss_on_unseen_samples_is_the_stated_one(loss: float) -> None:
    rng = np.random.default_rng(0)
    lost, kept, decided = [], [], []
    for _ in range(120):
        columns, broken = planted(rng, 1400)
        sample = {n: c.slice(0, 400) for n, c in columns.items()}
        predictor = fit_predictor(sample, SIGNALS, broken[:400], loss)
        assert predictor is not None
        outcome = predictor.outcomes({n: c.slice(400) for n, c in columns.items()})
        rest = broken[400:]
        lost.append((outcome[~rest] == REJECT).mean())
        kept.append((outcome[rest] == KEEP).mean())
        decided.append((outcome != 0).mean())
    for shares in (lost, kept):
        error = np.std(shares) / np.sqrt(len(shares))
        assert np.mean(shares) <= loss + 2 * error
        assert np.mean(shares) >= loss / 3  # the risk that is stated is used
    assert np.mean(decided) > 0.3


def test_few_samples_and_one_outcome_decide_nothing() -> None:
    rng = np.random.default_rng(1)
    columns, broken = planted(rng, 30)
    predictor = fit_predictor(columns, SIGNALS, broken, 0.01)
    assert predictor is None or not predictor.outcomes(columns).any()
    assert fit_predictor(columns, SIGNALS, np.zeros(30, bool), 0.2) is None


def test_a_later_scorer_learns_from_what_an_earlier_one_lets_through() -> None:
    rng = np.random.default_rng(2)
    signals, broken = planted(rng, 1200)
    rules = policy(
        image_nsfw={"max": 0.5},
        image_resampled={"max": 5},
        cascade={"scorers": ["image_nsfw", "image_edits"], "loss": 0.1, "sample": 1200},
    )
    plan = plan_of(rules)
    columns = {n: c.to_pylist() for n, c in signals.items()}
    columns["image_nsfw"] = np.where(broken, 0.9, 0.1).tolist()
    # What the first scorer measured tells the outcome of the second one.
    columns["image_resampled"] = np.where(rng.random(1200) < 0.3, 9.0, 1.0).tolist()
    fitted = fit_plan(rules, table(plan.reads, 1200, **columns))
    assert set(fitted.predictors) == {"image_nsfw", "image_edits"}
    first = fitted.predictors["image_nsfw"]
    assert "image_nsfw" not in first.ranks
    assert "image_nsfw" in fitted.predictors["image_edits"].ranks


def test_only_plain_limits_are_predicted() -> None:
    cascade = {"scorers": ["image_nsfw", "image_edits", "audio_speech", "image_aesthetic"]}
    rules = policy(
        image_nsfw={"max": 0.5, "null": "reject"},
        image_resampled={"max": 5},
        image_aesthetic={"min": 4},
        caps=[{"by": "text_language", "most": 5, "largest": "image_aesthetic"}],
        cascade={**cascade, "loss": 0.1},
    )
    assert predictable(rules) == ["image_edits"]
    assert predictable(policy(image_resampled={"max": 5}, cascade=cascade)) == []


SOURCES = "sources: {a: {path: .}}\nsignals: {edits: true}\npolicy:\n  cascade: "


@pytest.mark.parametrize(
    ("cascade", "message"),
    [
        ("{scorers: [image_size]}", "'image_size' is no optional scorer; allowed: image_edits"),
        ("{scorers: []}", "at least 1"),
        ("{scorers: [image_edits, image_edits]}", "each scorer may be named once"),
        (
            "{scorers: image_nsfw}",
            "image_nsfw is not switched on under `signals:`; on",
        ),
        ("{scorers: image_edits, loss: 0.01, sample: 100}", "give at least sample: 198"),
        ("{scorers: image_edits, loss: 0.7}", "less than 0.5"),
    ],
)
def test_a_wrong_cascade_is_refused(cascade: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(SOURCES + cascade)


def test_a_cascade_is_part_of_the_written_policy() -> None:
    section = {"scorers": ["image_edits"], "loss": 0.05}
    parsed = parse(SOURCES + "{scorers: image_edits, loss: 0.05}").policy
    assert parsed.written() == {"cascade": section}


def test_notes_are_read_as_they_are_written() -> None:
    notes = {"image_nsfw": "keep", "image_edits": "0.026s"}
    text = format_notes(notes)
    assert text == "image_edits=0.026s image_nsfw=keep"
    assert parse_notes(text) == notes
    assert (seconds_of("0.026s"), seconds_of("image_nsfw.max"), seconds_of(None)) == (
        0.026,
        None,
        None,
    )
    assert reason_of("image_nsfw.max") == "image_nsfw.max rejects it before"
    assert format_notes({}) is None
