"""Records that kill their process are lost alone: tests with real workers that are killed."""

import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from embedders.media import image
from pipelines.engine import ray_tasks
from pipelines.engine.crash_markers import CrashMarkers, count_death, have_crashes, should_retry
from pipelines.samples import stage as samples_stage
from pipelines.samples.error_budget import Budget
from pipelines.samples.sample_row import sample_row
from pipelines.samples.stage import UnitWork, ingest, read_unit
from pipelines.signals import stage
from pipelines.signals.registry import DEFAULT_SCORERS
from pipelines.signals.scoring import score_skipping_crashes
from pipelines.signals.stage import measure
from pipelines.sources.units import list_units
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.config.engine import Ray
from store.config.limits import Limits
from store.config.sources import Errors
from store.errors import CrashError
from store.lineage import trace_record
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.staging import Entry, StageRun, begin, stage_record
from store.workspace import Workspace
from tests.helpers.corpus import write_config as configure
from tests.helpers.rubbish import picture, tar_bytes
from tests.helpers.units import POISON, ROW, PoisonedIngest, PoisonedSignals, Unrelenting

ROOT = Path(__file__).resolve().parents[2]


def staging(root: Path) -> StageRun:
    return StageRun(Tables(root), "samples", "a", "key", schema.SAMPLES)


# Crash markers


def test_a_position_is_deadly_after_two_deaths(tmp_path: Path) -> None:
    run = staging(tmp_path)
    for deaths in range(3):
        markers = CrashMarkers(run, "unit")
        assert markers.deaths == ({"record 7": deaths} if deaths else {})
        assert markers.is_deadly("record 7") == (deaths == 2)
        markers.at("record 6")
        markers.at("record 7")
        os.close(markers._file)  # the state that a killed process leaves
        count_death(run, "unit")
    assert have_crashes(run)
    assert should_retry(run, "unit", 10)
    assert not should_retry(run, "unit", 64)
    assert should_retry(run, "another", 1)
    assert not should_retry(run, "another", 2)


def test_without_blame_no_death_is_counted(tmp_path: Path) -> None:
    run = staging(tmp_path)
    for _ in range(3):
        markers = CrashMarkers(run, "unit")
        assert markers.deaths == {}
        markers.at("record 7")
        os.close(markers._file)
        assert have_crashes(run)  # so that the next run uses workers, whose deaths can be observed
    CrashMarkers(run, "unit")
    count_death(run, "unit")  # it died before it marked a position; the older marker does not count
    assert CrashMarkers(run, "unit").deaths == {}


def test_closed_markers_leave_nothing_to_blame(tmp_path: Path) -> None:
    run = staging(tmp_path)
    for _ in range(3):
        markers = CrashMarkers(run, "unit")
        markers.at("record 7")
        markers.close()
        markers.close()
    assert CrashMarkers(run, "unit").deaths == {}
    assert not have_crashes(run)


# Samples


def deliver(root: Path, poison: tuple[int, ...]) -> Workspace:
    """A corpus of two tar files with twelve images each; those of `poison` kill their reader."""
    for number in (0, 1):
        members = [
            (
                f"{number}-{n}.png",
                picture(seed=number * 100 + n) + POISON * (number * 100 + n in poison),
            )
            for n in range(12)
        ]
        path = root / "drops" / "a" / f"{number}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tar_bytes(members))
    (root / "corpus.yaml").write_text("sources:\n  s: {path: drops}\nengine: {signals: ray}\n")
    return Workspace.open(root)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_an_image_that_kills_its_reader_is_lost_alone(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = deliver(tmp_path, poison=(104, 105))
    monkeypatch.setattr(samples_stage, "UnitWork", PoisonedIngest)
    counts = ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    assert (counts.input, counts.kept, counts.failed) == (24, 22, 2)
    rows = workspace.tables.open("samples").to_table(columns=["key"])["key"].to_pylist()
    assert sorted(rows) == sorted({f"{t}-{n}" for t in (0, 1) for n in range(12)} - {"1-4", "1-5"})
    (step,) = trace_record(workspace.tables, "1-5")
    assert (step.outcome, step.detail.partition(":")[0]) == ("failed", "record.crashed")


def leave_deaths(run: StageRun, unit: str, position: str, times: int) -> None:
    """Leave what processes leave that died at a position of a unit."""
    for _ in range(times):
        markers = CrashMarkers(run, unit)
        markers.at(position)
        os.close(markers._file)
        count_death(run, unit)


@pytest.mark.parametrize(
    ("deaths", "lost"),
    [(1, []), (2, ["0-4"]), (3, [f"record-{n}" for n in range(4, 12)])],
)
def test_a_record_that_was_deadly_twice_is_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, lost: list[str]
) -> None:
    """A third death is blamed on the reader, and nothing after that position is read."""
    workspace = deliver(tmp_path, poison=(4,))
    decoded: list[bytes] = []
    plain = image.read_image
    monkeypatch.setattr(
        image, "read_image", lambda data, limits: decoded.append(data) or plain(data, limits)
    )
    (drop,) = staleness.drops(workspace).values()
    unit = next(u for u in list_units(drop) if u.name == "0.tar")
    with begin(workspace.tables, "samples", "key", schema.SAMPLES, "a") as run:
        leave_deaths(run, unit.name, "record 4", deaths)
        work = UnitWork(unit, Limits(), run, Budget(Errors(), 24))
        keys = [key for batch in work for key in batch["key"].to_pylist()]
    assert [(e.key, e.rule) for e in work.entries] == [(key, "record.crashed") for key in lost]
    assert len(keys) + len(lost) == work.outcome().input == 12
    assert any(POISON in data for data in decoded) == (deaths == 1)


def test_a_scorer_skips_a_sample_that_was_deadly_twice(tmp_path: Path) -> None:
    run = staging(tmp_path)
    names = ("text_length", "text_contacts")
    scorers = [s for s in DEFAULT_SCORERS if s.name in names]
    texts = pa.record_batch({"id": ["x", "y"], "text": ["one", "two words"]})
    expected = score_skipping_crashes(texts, scorers, CrashMarkers(run, "undisturbed"))
    assert expected.failed == []
    leave_deaths(run, "unit", "a batch", 1)
    leave_deaths(run, "unit", "text_length y", 2)
    done = score_skipping_crashes(texts, scorers, CrashMarkers(run, "unit"))
    ((row, name, error),) = done.failed
    assert (row, name, error.rule) == (1, "text_length", "signals.text_length")
    for column, values in expected.columns.items():
        all_values = values.to_pylist()
        is_length = column in next(s for s in scorers if s.name == "text_length").gives
        assert done.columns[column].to_pylist() == (
            [all_values[0], None] if is_length else all_values
        )


SCRIPT = """
import sys
from pathlib import Path
from pipelines.samples import stage
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.workspace import Workspace
from tests.helpers.units import PoisonedIngest
stage.UnitWork = PoisonedIngest
workspace = Workspace.open(sys.argv[1])
stage.ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
"""


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_the_run_after_a_killed_process_loses_the_deadly_record_alone(tmp_path: Path) -> None:
    """Beam runs in the process that dies. The next run finds markers, and uses Ray workers."""
    workspace = deliver(tmp_path, poison=(4,))
    (tmp_path / "corpus.yaml").write_text("sources:\n  s: {path: drops}\n")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    row = stage_record(workspace.tables, "samples", "a")
    assert row is not None
    assert (row["input"], row["kept"], row["failed"]) == (24, 23, 1)


def test_a_row_that_no_table_can_hold_is_lost_alone(tmp_path: Path, monkeypatch) -> None:
    """Rows that Arrow refuses, and a decoder that raises an unexpected error."""
    workspace = deliver(tmp_path, poison=())
    (tmp_path / "corpus.yaml").write_text("sources:\n  s: {path: drops}\nengine: {signals: beam}\n")
    original = sample_row

    def odd(*arguments):
        row = original(*arguments)
        if row["key"] == "0-3":
            row["image_width"] = 1 << 40
        if row["key"] == "0-7":
            row["text"] = "half \ud800"
        if row["key"] == "1-2":
            raise MemoryError("no more")
        if row["key"] == "1-3":
            raise RecursionError("too deep")
        return row

    monkeypatch.setattr(samples_stage, "sample_row", odd)
    workspace = Workspace.open(tmp_path)
    counts = ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    assert (counts.input, counts.kept, counts.failed) == (24, 20, 4)
    ledger = workspace.tables.open("ledger").to_table().to_pylist()
    assert {(r["key"], r["rule"]) for r in ledger} == {
        (key, "record.unexpected") for key in ("0-3", "0-7", "1-2", "1-3")
    }
    assert any("MemoryError" in r["error"] for r in ledger)


def test_a_reader_that_raises_loses_the_records_after_it(tmp_path: Path, monkeypatch) -> None:
    workspace = deliver(tmp_path, poison=())
    (tmp_path / "corpus.yaml").write_text("sources:\n  s: {path: drops}\nengine: {signals: beam}\n")
    original = read_unit

    def breaking(unit, limits):
        for number, item in enumerate(original(unit, limits)):
            if number == 9 and unit.name == "1.tar":
                raise ZeroDivisionError("unexpected")
            yield item

    monkeypatch.setattr(samples_stage, "read_unit", breaking)
    workspace = Workspace.open(tmp_path)
    counts = ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    assert (counts.input, counts.kept, counts.failed) == (24, 21, 3)
    (step,) = trace_record(workspace.tables, "record-10")
    assert "ZeroDivisionError" in step.detail


# Signals


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_sample_that_kills_its_scorer_is_unmeasured_alone(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path)
    folder = tmp_path / "drops" / "a"
    folder.mkdir(parents=True)
    for n in range(20):
        (folder / f"{n:02d}.txt").write_text(f"poison {n}" if n == 17 else f"a word {n}")
    path = tmp_path / "corpus.yaml"
    path.write_text(path.read_text() + "engine: {signals: ray}\n")
    workspace = Workspace.open(tmp_path)
    ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    monkeypatch.setattr(stage, "UnitWork", PoisonedSignals)
    counts = measure(StageContext(workspace, "a"))
    assert (counts.input, counts.kept) == (20, 20)
    rows = workspace.tables.open("signals").to_table(columns=["id", "text_chars", "text_urls"])
    assert rows["text_chars"].null_count == 1
    assert rows["text_urls"].null_count == 0
    ledger = workspace.tables.open("ledger").to_table(filter="stage = 'signals'").to_pylist()
    assert Counter((r["key"], r["rule"], r["outcome"]) for r in ledger) == {
        ("17", "signals.text_length", "unmeasured"): 1
    }
    assert all("crashed" in r["error"] for r in ledger)


@pytest.mark.slow
def test_a_unit_that_kills_without_markers_stops_the_stage(
    tmp_path: Path, ray_cluster: None
) -> None:
    with begin(Tables(tmp_path), "signals", "key", ROW, "a") as run:
        work = partial(Unrelenting, tmp_path)
        with pytest.raises(CrashError, match="unit 3 killed its process 2 times"):
            ray_tasks.run_on_ray(Ray(), run, list(range(5)), work, str)
        assert Entry("s", "1", "rule") in run.entries()
