"""The stage `signals`: nothing is measured twice or lost, with either engine."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.duplicates.sample_facts import add_facts, all_samples
from pipelines.engine import ray_tasks
from pipelines.samples.stage import ingest
from pipelines.signals import incremental, registry, stage
from pipelines.signals.scorer import BatchScorer, ImageScorer, Scorer
from pipelines.signals.stage import measure
from pipelines.signals.units import cut
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.stages.scorer_versions import scorer_versions
from store.config.engine import Ray
from store.errors import InvariantError
from store.lineage import trace_record
from store.tables import schema, signals
from store.tables.lance_tables import Tables
from store.tables.signals import ScorerColumns
from store.tables.staging import begin, stage_record
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, CONFIG, deliver, picture
from tests.helpers.corpus import write_config as configure
from tests.helpers.rubbish import tone
from tests.helpers.units import ROW, Deadly

CALLS: Counter[str] = Counter()  # rows or parts that each scorer has measured, by scorer


def counted(scorer: Scorer) -> Scorer:
    """The scorer, counting its rows or parts in `CALLS`."""
    if isinstance(scorer, BatchScorer):
        plain = scorer.score

        def by_rows(batch: pa.RecordBatch):
            CALLS[scorer.name] += batch.num_rows
            return plain(batch)

        return replace(scorer, score=by_rows)
    assert isinstance(scorer, ImageScorer)
    one = scorer.score

    def by_part(part):
        CALLS[scorer.name] += 1
        return one(part)

    return replace(scorer, score=by_part)


@pytest.fixture
def scorers(monkeypatch: pytest.MonkeyPatch) -> dict[str, ScorerColumns]:
    """The scorers that the corpus of a test uses; the test may add, remove or change them."""
    names = ("image_size", "image_pixels", "text_length")
    scorers = {name: signals.SCORERS[name] for name in names}
    for module in ("run_keys", "scorer_versions"):
        monkeypatch.setattr(f"pipelines.stages.{module}.SCORERS", scorers)

    def active(*_) -> tuple[Scorer, ...]:
        return tuple(counted(s) for s in registry.DEFAULT_SCORERS if s.name in scorers)

    monkeypatch.setattr(stage, "active", active)
    CALLS.clear()
    return scorers


def raise_version(scorers: dict[str, ScorerColumns], name: str) -> None:
    scorers[name] = replace(scorers[name], version=scorers[name].version + 1)


def read_drop(root: Path, count: int = 12) -> Workspace:
    """A corpus with the samples of one drop: `count` pairs, and three others."""
    configure(root)
    drop = root / "drops" / "a"
    deliver(drop, count)
    (drop / "alone.txt").write_text("a text without a picture")
    (drop / "sound.wav").write_bytes(tone(seconds=3.0))
    (drop / "again.png").write_bytes(picture(COLOURS["red"], 0))  # as red-0000, other caption
    (drop / "again.txt").write_text("the same picture again")
    workspace = Workspace.open(root)
    ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    return workspace


def table(workspace: Workspace, columns: list[str] | None = None) -> dict[str, dict]:
    """The rows of `signals` by sample."""
    rows = workspace.tables.scan("signals", schema.SIGNALS, columns)
    return {row["id"]: row for row in rows.to_pylist()}


def test_a_missing_modality_gives_null(tmp_path: Path) -> None:
    workspace = read_drop(tmp_path, 3)
    counts = measure(StageContext(workspace, "a"))
    assert (counts.input, counts.kept) == (6, 6)
    rows = list(table(workspace).values())
    samples_with = Counter()
    for row in rows:
        for part in schema.MODALITIES:
            own = {n: v for n, v in row.items() if n.startswith(f"{part}_")}
            size = own[{"image": "image_width", "text": "text_chars", "audio": "audio_rate"}[part]]
            if size is None:
                assert set(own.values()) == {None}
            samples_with[part] += size is not None
        assert incremental.parse_versions(row["scorers"]) == scorer_versions(workspace)
    assert samples_with == {"image": 4, "text": 5, "audio": 1}
    (recording,) = [r for r in rows if r["audio_rate"]]
    assert recording["audio_loudness"] < 0
    samples = workspace.tables.scan("samples", schema.SAMPLES, ["id", "key"]).to_pylist()
    ids = {s["key"]: s["id"] for s in samples}
    again, first = (table(workspace)[ids[key]] for key in ("again", "red-0000"))
    assert again["image_pdq"] == first["image_pdq"] is not None
    assert again["text_chars"] == len("the same picture again")


def count_facts(workspace: Workspace) -> int:
    with all_samples(workspace, workspace.root / "scratch") as connection:
        return add_facts(workspace, connection)


def test_fingerprints_are_measured_only_if_they_are_needed(tmp_path: Path) -> None:
    workspace = read_drop(tmp_path, 3)
    measure(StageContext(workspace, "a"))
    names = list(schema.FINGERPRINT_TYPES)
    rows = table(workspace, ["id", *names]).values()
    assert {n for n in names for row in rows if row[n] is not None} == {"image_pdq"}
    assert count_facts(workspace) == 6
    configure(tmp_path, f"{CONFIG}duplicates: {{image: 31, audio: 0.75, crops: 0.75}}\n")
    workspace = Workspace.open(tmp_path)
    assert "signals" in staleness.stale(workspace, "a")
    with pytest.raises(InvariantError, match="signals lacks the fingerprints of image_copies, aud"):
        count_facts(workspace)
    measure(StageContext(workspace, "a"))
    rows = table(workspace, ["id", *names]).values()
    assert {n for n in names for row in rows if row[n] is not None} == set(names)
    assert count_facts(workspace) == 6


def test_a_new_scorer_measures_only_its_own_columns(
    tmp_path: Path, scorers: dict[str, ScorerColumns]
) -> None:
    workspace = read_drop(tmp_path)
    measure(StageContext(workspace, "a"))
    assert CALLS == {"image_size": 15, "image_pixels": 12, "text_length": 15}
    before = table(workspace)
    CALLS.clear()
    scorers |= {name: signals.SCORERS[name] for name in ("image_hash", "text_language")}
    assert staleness.stale(workspace, "a")[0] == "signals"
    measure(StageContext(workspace, "a"))
    assert CALLS == {"image_hash": 12, "text_language": 15}
    after = table(workspace)
    assert before.keys() == after.keys()
    changed = {"image_pdq", "image_pdq_quality", "text_language", "text_language_score", "scorers"}
    for sample, row in after.items():
        assert {n: v for n, v in row.items() if n not in changed} == {
            n: v for n, v in before[sample].items() if n not in changed
        }
    assert sum(row["image_pdq"] is not None for row in after.values()) == 13
    CALLS.clear()
    raise_version(scorers, "text_length")
    measure(StageContext(workspace, "a"))
    assert CALLS == {"text_length": 15}
    assert table(workspace).keys() == after.keys()
    del scorers["image_hash"]  # the columns of a scorer that is turned off stay
    measure(StageContext(workspace, "a"))
    assert {r["image_pdq"] for r in table(workspace).values()} == {
        r["image_pdq"] for r in after.values()
    }


def test_a_drop_that_is_read_again_measures_only_new_samples(
    tmp_path: Path, scorers: dict[str, ScorerColumns]
) -> None:
    workspace = read_drop(tmp_path)
    measure(StageContext(workspace, "a"))
    CALLS.clear()
    deliver(tmp_path / "drops" / "a", 2, first=700)
    (tmp_path / "drops" / "a" / "alone.txt").unlink()
    ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    counts = measure(StageContext(workspace, "a"))
    assert counts.kept == len(table(workspace)) == 16
    assert CALLS == {"image_size": 2, "image_pixels": 2, "text_length": 2}


def test_samples_that_are_made_again_between_two_attempts_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are the same, but at other places. So are the units, whose names say where."""
    workspace = read_drop(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "publish", lambda *_, **settings: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            measure(StageContext(workspace, "a"))
    (drop,) = staleness.drops(workspace).values()
    ingest(StageContext(workspace, drop))
    counts = measure(StageContext(workspace, "a"))
    assert (counts.input, counts.kept) == (15, 15)
    assert len(table(workspace)) == 15


def test_a_table_without_versions_gets_the_new_columns(
    tmp_path: Path, scorers: dict[str, ScorerColumns]
) -> None:
    workspace = read_drop(tmp_path, 4)
    old = pa.schema([f for f in schema.SIGNALS if f.name in ("drop", "id", "text_chars")])
    ids = workspace.tables.scan("samples", schema.SAMPLES, ["drop", "id"])
    rows = [{**r, "text_chars": -1} for r in ids.to_pylist()]
    rows.append({"drop": "other", "id": "x", "text_chars": -1})
    measured = pa.Table.from_pylist(rows, schema=old)
    workspace.tables.replace("signals", old, measured.to_batches(), None)
    measure(StageContext(workspace, "a"))
    assert CALLS["text_length"] == ids.num_rows
    signal_rows = table(workspace)
    assert signal_rows.pop("x") == dict.fromkeys(schema.SIGNALS.names) | rows[-1]
    assert all(row["text_chars"] != -1 for row in signal_rows.values())
    CALLS.clear()
    raise_version(scorers, "image_size")
    measure(StageContext(workspace, "a"))
    assert set(CALLS) == {"image_size"}


def test_a_scorer_that_raises_fails_only_for_that_sample(
    tmp_path: Path, scorers: dict[str, ScorerColumns], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = read_drop(tmp_path)
    used = registry.active(workspace.config, workspace.root)

    def failing(batch: pa.RecordBatch):
        if "the same picture again" in batch["text"].to_pylist():
            raise ValueError("not that one")
        return next(s for s in used if s.name == "text_length").score(batch)

    def with_failing(*_) -> tuple[Scorer, ...]:
        return tuple(replace(s, score=failing) if s.name == "text_length" else s for s in used)

    monkeypatch.setattr(stage, "active", with_failing)
    counts = measure(StageContext(workspace, "a"))
    assert (counts.input, counts.kept, counts.failed) == (15, 15, 0)

    def unmeasured() -> list[dict]:
        where = "stage = 'signals'"
        return workspace.tables.scan("ledger", schema.LEDGER, where=where).to_pylist()

    (entry,) = unmeasured()
    assert (entry["rule"], entry["outcome"]) == ("signals.text_length", "unmeasured")
    assert entry["error"] == "ValueError: not that one"
    rows = table(workspace)
    assert rows[entry["id"]]["text_chars"] is None
    assert rows[entry["id"]]["image_width"] == 24
    assert (
        sum(row["text_chars"] is None for row in rows.values()) == 2
    )  # this one, and the recording
    story = [s for s in trace_record(workspace.tables, "again") if s.stage == "signals"]
    assert [(s.outcome, s.detail) for s in story] == [
        ("unmeasured", "signals.text_length: ValueError: not that one")
    ]
    raise_version(scorers, "image_size")  # text_length does not run again; its failure stays
    measure(StageContext(workspace, "a"))
    assert unmeasured() == [entry]
    monkeypatch.setattr(stage, "active", lambda *_: used)
    raise_version(scorers, "text_length")
    measure(StageContext(workspace, "a"))
    assert unmeasured() == []
    assert table(workspace)[entry["id"]]["text_chars"] == 22


@given(st.lists(st.sampled_from([0, 1, 1000, 30 << 20, 64 << 20, 65 << 20, 300 << 20])))
def test_units_cover_all_rows_and_stay_small(sizes: list[int]) -> None:
    spans = list(cut(np.asarray(sizes, np.int64)))
    assert [row for start, stop in spans for row in range(start, stop)] == list(range(len(sizes)))
    for start, stop in spans:
        assert sum(sizes[start:stop]) <= 64 << 20 or stop - start == 1
    assert [s for s, _ in cut(np.zeros(10_000, np.int64))] == [0, 4096, 8192]


# Ray


def test_a_unit_whose_process_dies_is_done_again(tmp_path: Path, ray_cluster: None) -> None:
    with begin(Tables(tmp_path), "signals", "key", ROW, "a") as run:
        ray_tasks.run_on_ray(Ray(), run, list(range(5)), partial(Deadly, tmp_path), str)
        assert sorted(run.done()) == [str(n) for n in range(5)]
        assert sorted(run.staged()["id"].to_pylist()) == [str(n) for n in range(5)]
        assert run.counts().input == 5
        assert len(list(tmp_path.glob("[0-9]"))) == 1


def test_ray_measures_what_beam_measures(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for engine in ("beam", "ray"):
        workspace = read_drop(tmp_path / engine, 8)
        path = workspace.root / "corpus.yaml"
        path.write_text(path.read_text() + f"engine: {{signals: {engine}}}\n")
        measure(StageContext(Workspace.open(workspace.root), "a"))
        results.append(table(workspace))
        row = stage_record(workspace.tables, "signals", "a")
        assert row is not None
        assert (row["input"], row["kept"]) == (11, 11)
    assert results[0] == results[1]
