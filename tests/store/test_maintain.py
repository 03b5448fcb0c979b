"""Maintenance bounds fragments and versions, and takes nothing that a reader or a release needs."""

import multiprocessing
import os
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from benchmarks.planning import record, write_records
from orchestration.cli.main import main
from orchestration.jobs import JOBS
from store.tables import releases, schema
from store.tables.lance_tables import Tables
from store.tables.maintain import (
    MOST_FRAGMENTS,
    STAGING_OLDER_THAN,
    compact,
    compact_records,
    maintain,
    remove_stale_staging,
)
from store.tables.outcomes import Counts, UnitOutcome
from store.tables.staging import StageRun, begin, publish
from tests.store.test_migrations import stored_corpus

ROWS = pa.schema(
    [
        pa.field("drop", pa.string(), False),
        pa.field("id", pa.int64(), False),
        pa.field("data", pa.large_binary()),
    ]
)
NOW = timedelta(0)


def rows(drop: str, ids: list[int]) -> list[pa.RecordBatch]:
    values = [{"drop": drop, "id": i, "data": bytes(200)} for i in ids]
    return pa.Table.from_pylist(values, schema=ROWS).to_batches()


def content(tables: Tables) -> list[tuple[str, int]]:
    columns = tables.scan("rows", ROWS, ["drop", "id"]).to_pydict()
    return sorted(zip(*columns.values(), strict=True))


def put(tables: Tables, drop: str, ids: list[int]) -> None:
    tables.replace("rows", ROWS, rows(drop, ids), f"drop = '{drop}'")


@pytest.mark.slow
def test_two_hundred_small_drops_are_compacted(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    for number in range(200):
        put(tables, f"d{number}", [number, number + 1000])
        if number in (50, 120):
            tables.open("rows").tags.create(f"release-{number}", tables.version("rows"))
    before, tagged = content(tables), tables.open("rows", "release-50").to_table()
    (done,) = maintain(tables, NOW)
    assert done.fragments == (200, 1)
    # Two tags, the newest one, and two that compaction itself has just replaced.
    assert done.versions[1] <= 5
    assert done.bytes_freed > 0
    assert content(tables) == before
    assert tables.open("rows", "release-50").to_table().equals(tagged)
    assert tables.open("rows", "release-120").count_rows() == 2 * 121
    files = [path for path in Path(tables.uri("rows")).rglob("*") if path.is_file()]
    assert len(files) < 200 + 20  # those that the tags need, among them
    put(tables, "d3", [7])  # the table can still be written
    assert len(content(tables)) == 399
    (again,) = maintain(tables, NOW)
    assert again.fragments[1] <= 2
    assert len(content(tables)) == 399


def test_versions_that_a_reader_may_have_opened_are_kept(tables: Tables) -> None:
    put(tables, "a", [1])
    put(tables, "b", [2])
    time.sleep(0.6)
    opened = tables.open("rows")  # the newest for a while, and older than the period
    put(tables, "a", [3])
    list(maintain(tables, timedelta(seconds=0.5)))
    assert opened.to_table().num_rows == 2
    assert tables.open("rows", opened.version).to_table().num_rows == 2
    assert content(tables) == [("a", 3), ("b", 2)]
    assert min(v["version"] for v in tables.open("rows").versions()) == opened.version


def test_versions_that_a_running_stage_may_read_are_kept(tables: Tables) -> None:
    put(tables, "a", [1])
    put(tables, "b", [2])
    with begin(tables, "signals", "k", ROWS, "a"):
        opened = tables.open("rows")
        put(tables, "a", [3])
        put(tables, "a", [4])
        list(maintain(tables, NOW))
        assert opened.to_table().num_rows == 2
        assert remove_stale_staging(tables) == []
    list(maintain(tables, NOW))
    assert len(tables.open("rows").versions()) == 1


def _write(root: str, drop: str, stop) -> None:
    number = 0
    while not stop.is_set():
        put(Tables(root), drop, [number, number + 1])
        number += 2


def _search(root: str, stop) -> None:
    while not stop.is_set():
        dataset = Tables(root).open("rows")
        time.sleep(0.01)
        table = dataset.to_table()
        assert len(table) == len(table.group_by(["drop", "id"]).aggregate([]))


@pytest.mark.slow
def test_maintenance_beside_writers_and_readers(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    for drop in ("still", "a", "b"):
        put(tables, drop, [0, 1])
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    jobs = [(_write, "a"), (_write, "b"), (_search,)]
    processes = [
        context.Process(target=target, args=(str(tmp_path), *rest, stop)) for target, *rest in jobs
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + 8
    while time.monotonic() < end:
        list(maintain(tables, timedelta(seconds=2)))
    stop.set()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert [row for row in content(tables) if row[0] == "still"] == [("still", 0), ("still", 1)]
    assert len(content(tables)) == 6
    list(maintain(tables, NOW))  # if it compacts, it keeps the versions that compaction replaces
    list(maintain(tables, NOW))
    assert len(tables.open("rows").versions()) == 1


def test_compaction_that_meets_a_writer_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(tmp_path)
    for drop in ("a", "b"):
        put(tables, drop, [0, 1])
    lock = Tables.lock

    def lock_after_a_write(self, name: str, **settings):
        monkeypatch.setattr(Tables, "lock", lock)
        put(tables, "a", [5])
        return lock(self, name, **settings)

    monkeypatch.setattr(Tables, "lock", lock_after_a_write)
    assert not compact(tables, "rows")
    assert content(tables) == [("a", 5), ("b", 0), ("b", 1)]
    assert compact(tables, "rows")
    assert content(tables) == [("a", 5), ("b", 0), ("b", 1)]


def name(run: StageRun) -> str:
    """The folder of the stage under `_staging`."""
    return run.folder.split("/")[1]


def stage_unit(run: StageRun) -> None:
    run.append("u", rows("a", [1]), lambda: UnitOutcome(1, 1))


def test_stale_staging_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables(tmp_path)
    with begin(tables, "signals", "interrupted", ROWS, "a") as interrupted:
        stage_unit(interrupted)
    with begin(tables, "samples", "published", ROWS, "a") as run:
        stage_unit(run)
        monkeypatch.setattr(StageRun, "close", lambda self: None)  # it dies before the end
        publish(
            tables,
            run,
            counts=Counts(1, 1),
            entries=[],
            write=lambda: put(tables, "a", [1]),
            output=lambda: "out",
        )
    assert list(tables.files.list(run.folder))
    assert remove_stale_staging(tables) == [name(run)]
    assert not list(tables.files.list(run.folder))
    assert interrupted.done() == ["u"]  # it can be resumed
    past = time.time() - STAGING_OLDER_THAN.total_seconds() - 60
    os.utime(Path(tables.root, interrupted.folder, "started"), (past, past))
    with tables.lock(f"run-{name(interrupted)}"):
        assert remove_stale_staging(tables) == []  # somebody is at work on it
    assert remove_stale_staging(tables) == [name(interrupted)]


def test_the_command_keeps_releases(tmp_path: Path) -> None:
    workspace = stored_corpus(tmp_path, 1)
    tables = workspace.tables
    release = releases.latest_release(tables)
    before = {n: tables.open(n, release.tag).to_table() for n in release.versions}
    words = ["maintain", "--corpus", str(tmp_path), "--older-than"]
    result = CliRunner().invoke(main, [*words, "0s"])
    assert result.exit_code == 0, result.output
    assert "stages" in result.output
    assert len(tables.open("stages").get_fragments()) == 1
    assert len(tables.open("stages").versions()) <= 3
    for name, table in before.items():
        assert tables.open(name, release.tag).to_table().equals(table)
    assert tables.scan("stages", schema.STAGES).num_rows == 12
    assert CliRunner().invoke(main, ["check", "--deep", "--corpus", str(tmp_path)]).exit_code == 0
    assert "is not a period" in CliRunner().invoke(main, [*words, "soon"]).output


def test_there_is_a_job() -> None:
    assert "maintain" in {job.name for job in JOBS}


def test_records_are_merged_once_they_have_many_fragments(tables: Tables) -> None:
    for number in range(MOST_FRAGMENTS):
        put_record(tables, f"drop{number}")
    compact_records(tables)  # there is no ledger yet
    assert len(tables.open("stages").get_fragments()) == MOST_FRAGMENTS
    put_record(tables, "drop0")
    put_record(tables, "last")
    compact_records(tables)
    assert len(tables.open("stages").get_fragments()) == 1
    drops = sorted(tables.scan("stages", schema.STAGES)["drop"].to_pylist())
    assert drops == sorted(["last", *(f"drop{n}" for n in range(MOST_FRAGMENTS))])


def put_record(tables: Tables, drop: str) -> None:
    write_records(tables, [record("samples", drop, "key")], f"drop = '{drop}'")
