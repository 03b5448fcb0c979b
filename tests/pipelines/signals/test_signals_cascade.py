"""The stage `signals` with a cascade: what is not needed is not measured."""

import hashlib
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from orchestration.cli import tables as printed
from pipelines.policy.whatif import compare_policies
from pipelines.samples.stage import ingest
from pipelines.signals import decoded_image, registry, scoring, stage
from pipelines.signals.decoded_image import decode_reduced
from pipelines.signals.scorer import DecodedImage, ImageScorer, Scorer
from pipelines.signals.stage import measure
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.lineage import trace_record
from store.tables import schema
from store.tables.cascade_notes import parse_notes, seconds_of
from store.workspace import Workspace
from tests.pipelines.signals.test_signals_stage import CALLS, counted, table

HEAD = "sources: {a: {path: drops}}\nsignals: {edits: true}\n"
EXACT = "policy: {image_min_side: {min: 200}, cascade: {scorers: image_edits}}\n"
LOOSER = "policy: {image_min_side: {min: 100}, cascade: {scorers: image_edits}}\n"
RULES = "image_min_side: {min: 200}, image_resampled: {max: 8}"
PREDICTED = f"policy: {{{RULES}, cascade: {{scorers: image_edits, loss: 0.2, sample: 60}}}}\n"
ALL = f"policy: {{{RULES}}}\n"


def noise(side: int, number: int, enlarged: bool) -> bytes:
    """A picture of noise, which was enlarged or not: enlarging leaves traces and less sharpness."""
    rng = np.random.default_rng(number)
    small = round(side / 1.5) if enlarged else side
    pixels = rng.integers(0, 255, (small, small, 3), np.uint8)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """140 pictures of 256 pixels, 60 of them enlarged; 10 of 128 and 10 of 64; and a text."""
    drop = tmp_path / "drops" / "a"
    drop.mkdir(parents=True)
    sides = [256] * 140 + [128] * 10 + [64] * 10
    for number, side in enumerate(sides):
        (drop / f"{number:03}.png").write_bytes(noise(side, number, number < 60))
        (drop / f"{number:03}.txt").write_text(f"picture {number}")
    (drop / "alone.txt").write_text("a text without a picture")

    def active(*args: Any) -> tuple[Scorer, ...]:
        scorers = registry.active(*args)
        return tuple(counted(s) if isinstance(s, ImageScorer) else s for s in scorers)

    monkeypatch.setattr(stage, "active", active)
    CALLS.clear()
    return tmp_path


def configured(root: Path, policy: str, head: str = HEAD) -> Workspace:
    (root / "corpus.yaml").write_text(head + policy)
    workspace = Workspace.open(root)
    if not workspace.tables.exists("samples"):
        ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    return workspace


def measured(root: Path, policy: str) -> tuple[Workspace, dict[str, dict]]:
    """The rows of `signals` by sample, after `CALLS` was cleared and the stage ran."""
    CALLS.clear()
    workspace = configured(root, policy)
    counts = measure(StageContext(workspace, "a"))
    assert counts.input == counts.kept == 161
    return workspace, table(workspace)


def test_a_sample_that_a_cheap_rule_rejects_is_measured_when_the_policy_needs_it(
    corpus: Path,
) -> None:
    workspace, rows = measured(corpus, EXACT)
    assert CALLS["image_edits"] == 140
    assert CALLS["image_pixels"] == 160
    small = [row for row in rows.values() if row["image_min_side"] == 128]
    assert {row["cascade"] for row in small} == {"image_edits=image_min_side.min"}
    assert {row["image_resampled"] for row in small} == {None}
    assert not any("image_edits@" in row["scorers"] for row in small)
    (alone,) = [row for row in rows.values() if row["image_bytes"] is None]
    assert "image_edits@1" in alone["scorers"]
    events = trace_record(workspace.tables, "145")
    assert ("unmeasured", "image_edits: image_min_side.min rejects it before") in [
        (event.outcome, event.detail) for event in events
    ]
    assert staleness.stale(workspace, "a")[0] != "signals"

    looser, after = measured(corpus, LOOSER)
    assert +CALLS == {"image_edits": 10}  # those of 128 pixels, by difference
    values = [row["image_resampled"] for row in after.values() if row["image_min_side"] == 128]
    assert all(value is not None for value in values)
    for name, row in rows.items():
        if row["image_min_side"] == 256:
            assert after[name] == row

    _, everything = measured(corpus, "policy: {image_min_side: {min: 100}}\n")
    assert +CALLS == {"image_edits": 10}  # those of 64 pixels
    assert {row["cascade"] for row in everything.values()} == {None}
    assert all("image_edits@1" in row["scorers"] for row in everything.values())
    assert staleness.stale(looser, "a")[0] == "signals"


def test_an_image_is_decoded_once_for_all_steps_of_a_cascade(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = Counter[str]()

    def counting(data: bytes) -> DecodedImage:
        decoded[hashlib.sha256(data).hexdigest()] += 1
        return decode_reduced(data)

    monkeypatch.setattr(decoded_image, "decode_reduced", counting)
    monkeypatch.setattr(scoring, "decode_reduced", counting)
    measured(corpus, EXACT)
    assert CALLS["image_edits"] == 140
    assert len(decoded) == 160
    assert set(decoded.values()) == {1}


def test_a_scorer_of_texts_can_be_in_a_cascade(corpus: Path) -> None:
    rules = "text_chars: {min: 10}, text_offensive: {max: 0.9}"
    head = HEAD.replace("edits", "offensive")
    policy = f"policy: {{{rules}, cascade: {{scorers: text_offensive}}}}\n"
    workspace = configured(corpus, policy, head)
    measure(StageContext(workspace, "a"))
    rows = table(workspace).values()
    short = [row for row in rows if row["text_chars"] < 10]  # picture 0 to 9
    assert len(short) == 10
    assert {row["text_offensive"] for row in short} == {None}
    assert {tuple(parse_notes(row["cascade"])) for row in short} == {("text_offensive",)}
    assert all(0 <= row["text_offensive"] <= 1 for row in rows if row["text_chars"] >= 10)


def test_predicted_samples_are_not_measured_and_few_are_lost(corpus: Path) -> None:
    _, full = measured(corpus, ALL)
    Workspace.open(corpus).tables.delete("signals", schema.SIGNALS, "true")
    workspace, rows = measured(corpus, PREDICTED)
    notes = {name: parse_notes(row["cascade"]).get("image_edits") for name, row in rows.items()}
    counts = Counter("s" if seconds_of(note) is not None else note for note in notes.values())
    assert CALLS["image_edits"] == counts["s"] < 140
    assert counts["keep"] + counts["reject"] > 40  # of 140 - 60
    assert counts["image_min_side.min"] == 20
    assert counts[None] == 1  # the text
    sample = sorted(rows)[:60]
    assert all(notes[n] not in ("keep", "reject") for n in sample)
    for name, row in rows.items():
        if seconds_of(notes[name]) is not None:
            assert row["image_resampled"] == full[name]["image_resampled"]
        elif notes[name] is not None:
            assert row["image_resampled"] is None
    wrong = Counter(
        (note, full[name]["image_resampled"] > 8)
        for name, note in notes.items()
        if note in ("keep", "reject")
    )
    assert wrong["reject", False] <= 0.2 * 80
    assert wrong["keep", True] <= 0.2 * 60

    CALLS.clear()
    again = measure(StageContext(workspace, "a", forced=True))
    assert again.kept == 161
    assert CALLS["image_edits"] == 0  # equal calibration, equal decisions
    kept = {name: {**row} for name, row in table(workspace).items()}
    assert kept == rows


def test_whatif_says_what_a_cascade_saves_and_loses(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, rows = measured(corpus, PREDICTED)
    published = workspace.tables
    empty = pa.Table.from_pylist([], schema=schema.DUPLICATES)
    published.replace("duplicates", schema.DUPLICATES, empty.to_batches(), None)
    comparison = compare_policies(workspace)
    cost = comparison.cascade["image_edits"]
    notes = [parse_notes(row["cascade"]).get("image_edits", "") for row in rows.values()]
    assert (cost.samples, cost.by_rule, cost.to_measure) == (160, 20, 0)
    assert (cost.kept, cost.rejected) == (notes.count("keep"), notes.count("reject"))
    assert cost.measured + cost.skipped == 160
    seconds = [s for note in notes if (s := seconds_of(note)) is not None]
    assert cost.saved == pytest.approx(np.mean(seconds) * cost.skipped)
    assert cost.loss == 0.2
    (wrong, of), (kept, among) = cost.lost, cost.kept_wrongly
    assert of + among <= 60
    assert wrong <= 0.4 * of
    assert kept <= 0.4 * among
    assert comparison.rejected["image_edits.predicted"][0] == cost.rejected
    looser = compare_policies(workspace, ("image_min_side.min=100",)).cascade["image_edits"]
    assert looser.by_rule == 10
    assert looser.to_measure + looser.kept + looser.rejected >= 10
    printed.print_comparison(comparison)
    assert "kept wrongly" in capsys.readouterr().out
    exact = compare_policies(workspace, ("cascade.loss=",)).cascade["image_edits"]
    assert exact.loss is None
    assert exact.to_measure == cost.kept + cost.rejected
