"""What takes a process down costs itself, and nothing beside it: real workers, really killed."""

import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from embedders import media
from embedders.media import image
from pipelines.engine import ray_tasks
from pipelines.engine.crash_markers import CrashMarkers, blame, may_die_again, were_left
from pipelines.samples import stage as samples_stage
from pipelines.samples.error_budget import Budget
from pipelines.samples.sample_row import sample_row
from pipelines.samples.stage import UnitWork, ingest, read_unit
from pipelines.signals import stage
from pipelines.signals.registry import ALWAYS
from pipelines.signals.scoring import score_carefully
from pipelines.signals.stage import measure
from pipelines.sources.units import list_units
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.config.engine import Ray
from store.config.limits import Limits
from store.config.sources import Errors
from store.errors import CrashError
from store.lineage import why
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.staging import Entry, StageRun, begin, record
from store.workspace import Workspace
from tests.helpers.corpus import begin as configure
from tests.helpers.rubbish import picture, tar_bytes
from tests.helpers.units import POISON, ROW, PoisonedIngest, PoisonedSignals, Unrelenting

ROOT = Path(__file__).resolve().parents[2]


def staging(root: Path) -> StageRun:
    return StageRun(str(root), "samples", "a", "key", schema.SAMPLES)


# Crumbs


def test_a_place_is_blamed_for_its_second_death(tmp_path: Path) -> None:
    run = staging(tmp_path)
    for deaths in range(3):
        crumbs = CrashMarkers(run, "unit")
        assert crumbs.deaths == ({"record 7": deaths} if deaths else {})
        assert crumbs.is_deadly("record 7") == (deaths == 2)
        crumbs.at("record 6")
        crumbs.at("record 7")
        os.close(crumbs._file)  # as a process that dies leaves it
        blame(run, "unit")
    assert were_left(run)
    assert may_die_again(run, "unit", 10)
    assert not may_die_again(run, "unit", 64)
    assert may_die_again(run, "another", 1)
    assert not may_die_again(run, "another", 2)


def test_a_run_that_dies_as_a_whole_blames_nothing(tmp_path: Path) -> None:
    run = staging(tmp_path)
    for _ in range(3):
        crumbs = CrashMarkers(run, "unit")
        assert crumbs.deaths == {}
        crumbs.at("record 7")
        os.close(crumbs._file)
        assert were_left(run)  # the next one has it done where a worker's death can be seen
    CrashMarkers(run, "unit")
    blame(run, "unit")  # died before it came to any place: what it found is not its own
    assert CrashMarkers(run, "unit").deaths == {}


def test_an_orderly_end_leaves_nothing_to_blame(tmp_path: Path) -> None:
    run = staging(tmp_path)
    for _ in range(3):
        crumbs = CrashMarkers(run, "unit")
        crumbs.at("record 7")
        crumbs.close()
        crumbs.close()
    assert CrashMarkers(run, "unit").deaths == {}
    assert not were_left(run)


# Samples


def deliver(root: Path, poison: tuple[int, ...]) -> Workspace:
    """Twelve pictures in each of two tars, some of them poison."""
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
def test_a_picture_that_kills_its_reader_costs_itself(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = deliver(tmp_path, poison=(104, 105))
    monkeypatch.setattr(samples_stage, "UnitWork", PoisonedIngest)
    counts = ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    assert (counts.input, counts.kept, counts.failed) == (24, 22, 2)
    rows = workspace.tables.open("samples").to_table(columns=["key"])["key"].to_pylist()
    assert sorted(rows) == sorted({f"{t}-{n}" for t in (0, 1) for n in range(12)} - {"1-4", "1-5"})
    (step,) = why(workspace.tables, "1-5")
    assert (step.outcome, step.detail.partition(":")[0]) == ("failed", "record.crashed")


def dies(run: StageRun, unit: str, place: str, times: int) -> None:
    """What processes leave that have died at a place of a unit."""
    for _ in range(times):
        crumbs = CrashMarkers(run, unit)
        crumbs.at(place)
        os.close(crumbs._file)
        blame(run, unit)


@pytest.mark.parametrize(
    ("deaths", "lost"),
    [(1, []), (2, ["0-4"]), (3, [f"record-{n}" for n in range(4, 12)])],
)
def test_what_was_deadly_twice_is_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, lost: list[str]
) -> None:
    """At the third death the reader itself is to blame, and nothing behind that place is read."""
    workspace = deliver(tmp_path, poison=(4,))
    seen: list[bytes] = []
    plain = image.read_image
    monkeypatch.setattr(
        media, "read_image", lambda data, limits: seen.append(data) or plain(data, limits)
    )
    (drop,) = staleness.drops(workspace).values()
    unit = next(u for u in list_units(drop) if u.name == "0.tar")
    with begin(workspace.tables, "samples", "key", schema.SAMPLES, "a") as run:
        dies(run, unit.name, "record 4", deaths)
        work = UnitWork(unit, Limits(), run, Budget(Errors(), 24))
        keys = [key for batch in work for key in batch["key"].to_pylist()]
    assert [(e.key, e.rule) for e in work.entries] == [(key, "record.crashed") for key in lost]
    assert len(keys) + len(lost) == work.outcome().input == 12
    assert any(POISON in data for data in seen) == (deaths == 1)


def test_a_scorer_passes_over_what_was_deadly_twice(tmp_path: Path) -> None:
    run = staging(tmp_path)
    names = ("text_length", "text_contacts")
    scorers = [s for s in ALWAYS if s.name in names]
    texts = pa.record_batch({"id": ["x", "y"], "text": ["one", "two words"]})
    plain = score_carefully(texts, scorers, CrashMarkers(run, "calm"))
    assert plain.failed == []
    dies(run, "unit", "a batch", 1)
    dies(run, "unit", "text_length y", 2)
    done = score_carefully(texts, scorers, CrashMarkers(run, "unit"))
    ((row, name, error),) = done.failed
    assert (row, name, error.rule) == (1, "text_length", "signals.text_length")
    for column, values in plain.columns.items():
        whole = values.to_pylist()
        length = column in next(s for s in scorers if s.name == "text_length").gives
        assert done.columns[column].to_pylist() == ([whole[0], None] if length else whole)


SCRIPT = """
import sys
from pathlib import Path
from pipelines.samples import stage
from pipelines.stages import staleness
from store.workspace import Workspace
from tests.helpers.units import PoisonedIngest
stage.UnitWork = PoisonedIngest
workspace = Workspace.open(sys.argv[1])
stage.ingest(workspace, staleness.drops(workspace)["a"])
"""


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_run_that_dies_as_a_whole_goes_past_it_when_it_is_run_again(tmp_path: Path) -> None:
    """In Beam's own process nothing outlives the death; Ray takes over where crumbs are left."""
    workspace = deliver(tmp_path, poison=(4,))
    (tmp_path / "corpus.yaml").write_text("sources:\n  s: {path: drops}\n")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    row = record(workspace.tables, "samples", "a")
    assert row is not None
    assert (row["input"], row["kept"], row["failed"]) == (24, 23, 1)


def test_what_no_table_can_hold_costs_its_record(tmp_path: Path, monkeypatch) -> None:
    """A row that Arrow refuses, and a decoder that raises what nobody has thought of."""
    workspace = deliver(tmp_path, poison=())
    (tmp_path / "corpus.yaml").write_text("sources:\n  s: {path: drops}\nengine: {signals: beam}\n")
    plain = sample_row

    def odd(*arguments):
        row = plain(*arguments)
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


def test_a_reader_that_breaks_costs_what_it_had_not_read(tmp_path: Path, monkeypatch) -> None:
    workspace = deliver(tmp_path, poison=())
    (tmp_path / "corpus.yaml").write_text("sources:\n  s: {path: drops}\nengine: {signals: beam}\n")
    plain = read_unit

    def breaking(unit, limits):
        for number, item in enumerate(plain(unit, limits)):
            if number == 9 and unit.name == "1.tar":
                raise ZeroDivisionError("nobody thought of it")
            yield item

    monkeypatch.setattr(samples_stage, "read_unit", breaking)
    workspace = Workspace.open(tmp_path)
    counts = ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    assert (counts.input, counts.kept, counts.failed) == (24, 21, 3)
    (step,) = why(workspace.tables, "record-10")
    assert "ZeroDivisionError" in step.detail


# Signals


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_scorer_that_dies_over_a_sample_leaves_that_alone_unmeasured(
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
def test_a_unit_that_kills_without_crumbs_stops_the_stage(
    tmp_path: Path, ray_cluster: None
) -> None:
    with begin(Tables(tmp_path), "signals", "key", ROW, "a") as run:
        work = partial(Unrelenting, tmp_path)
        with pytest.raises(CrashError, match="unit 3 killed its process 2 times"):
            ray_tasks.run_on_ray(Ray(), run, list(range(5)), work, str)
        assert Entry("s", "1", "rule") in run.entries()
