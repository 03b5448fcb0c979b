"""Staging survives kills and torn files, and grows linearly with its units."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from store.errors import DamagedTableError, RecordError
from store.tables import staged_units
from store.tables.lance_tables import Tables
from store.tables.outcomes import Counts, Entry, UnitOutcome
from store.tables.staging import StageRun, begin, publish

ROOT = Path(__file__).resolve().parents[2]
ROWS = pa.schema([pa.field("drop", pa.string(), False), pa.field("id", pa.int64(), False)])


def append(run: StageRun, unit: str, ids: list[int]) -> None:
    batches = pa.table({"drop": ["a"] * len(ids), "id": ids}, schema=ROWS).to_batches()
    entry = Entry.of("s", unit, RecordError("test.bad", "bad"))
    run.append(unit, batches, lambda: UnitOutcome(len(ids) + 1, len(ids), [entry], broken=1))


def ids(run: StageRun) -> list[int]:
    return sorted(run.staged(["id"])["id"].to_pylist())


def new_run(tables: Tables, key: str = "k") -> StageRun:
    return StageRun(tables, "rows", "a", key, ROWS)


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "deleted"])
@pytest.mark.parametrize("folder", ["_versions", "_transactions"])
def test_a_torn_staging_table_is_made_anew(tables: Tables, folder: str, damage: str) -> None:
    with begin(tables, "rows", "k", ROWS, "a") as run:
        append(run, "u1", [1, 2])
        assert ids(run) == [1, 2]  # makes the staging table
    files = tables.files
    for file in list(files.list(f"{run.folder}/rows.lance/{folder}")):
        data = files.read(file.path)
        if damage == "deleted":
            files.delete([file.path])
        elif damage == "flipped":
            files.write(file.path, bytes(b ^ 0xFF for b in data))
        else:
            files.write(file.path, data[: len(data) // 2] if damage == "cut" else b"")
    with begin(tables, "rows", "k", ROWS, "a") as run:
        assert run.done() == ["u1"]
        assert ids(run) == [1, 2]


@pytest.mark.parametrize(
    "content", [b"", b'{"unit": "u1"', b'{"unit": "u1"}\n', b"\xff\xfe", b"3\n"]
)
def test_a_torn_record_of_a_unit_is_discarded(tables: Tables, content: bytes) -> None:
    with begin(tables, "rows", "k", ROWS, "a") as run:
        append(run, "u1", [1])
        append(run, "u2", [2])
    (first,) = (
        file.path
        for file in tables.files.list(f"{run.folder}/units")
        if b"u1" in tables.files.read(file.path)
    )
    tables.files.write(first, content)
    with begin(tables, "rows", "k", ROWS, "a") as run:
        assert run.done() == ["u2"]
        append(run, "u1", [1])
        assert ids(run) == [1, 2]
        assert run.counts() == Counts(4, 2, failed=2)


@pytest.mark.parametrize("damage", ["cut", "deleted"])
def test_a_unit_whose_data_is_torn_is_done_again(tables: Tables, damage: str) -> None:
    with begin(tables, "rows", "k", ROWS, "a") as run:
        append(run, "u1", [1])
        (data,) = tables.files.list(f"{run.folder}/rows.lance/data")
        append(run, "u2", [2])
    if damage == "cut":
        tables.files.write(data.path, tables.files.read(data.path)[:-1])
    else:
        tables.files.delete([data.path])
    with begin(tables, "rows", "k", ROWS, "a") as run:
        assert run.done() == ["u2"]
        assert ids(run) == [2]


def test_damaged_staging_is_deleted_when_it_is_read(tables: Tables) -> None:
    with begin(tables, "rows", "k", ROWS, "a") as run:
        append(run, "u1", [1])
        (data,) = tables.files.list(f"{run.folder}/rows.lance/data")
        tables.files.write(data.path, bytes(data.size))  # the size is right, the bytes are not
        with pytest.raises(DamagedTableError, match=r"staging of rows of drop 'a' .* run again"):
            list(run.batches())
    with begin(tables, "rows", "k", ROWS, "a") as run:
        assert run.done() == []


def test_a_stage_that_runs_twice_within_a_second_reads_its_own_rows(tables: Tables) -> None:
    for _ in range(2):
        with begin(tables, "rows", "k", ROWS, "a") as run:
            append(run, "u1", [1, 2])
            assert ids(run) == [1, 2]
            run.close()


def test_a_unit_that_is_appended_twice_counts_once(tables: Tables) -> None:
    run = new_run(tables).open()
    append(run, "u1", [1, 2])
    append(run, "u1", [1, 2])
    assert run.done() == ["u1"]
    assert ids(run) == [1, 2]
    assert len(list(run.entries())) == 1


_OPEN = """
import sys, time
from tests.store.test_staging import ROWS, append
from store.tables.lance_tables import Tables
from store.tables.staging import begin
print("ready", flush=True)
for number in range(10_000):
    with begin(Tables(sys.argv[1]), "rows", sys.argv[2], ROWS, "a") as run:
        append(run, f"u{number}", [number])
        if number % 3 == 2:
            run.close()
"""


def test_kills_at_random_moments_never_block_a_stage(tmp_path: Path) -> None:
    chance = random.Random(13)
    tables = Tables(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill in range(10):
        key = f"k{kill % 2}"  # a new key begins by deleting the other staging
        process = subprocess.Popen(
            [sys.executable, "-c", _OPEN, str(tmp_path), key],
            env=environment,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with begin(tables, "rows", key, ROWS, "a") as run:
            done = run.done()
            assert ids(run) == sorted(int(unit[1:]) for unit in done)
            assert run.counts() == Counts(2 * len(done), len(done), failed=len(done))
    with begin(tables, "rows", "last", ROWS, "a") as run:
        append(run, "u", [5])
        publish(
            tables,
            run,
            counts=run.counts(),
            entries=run.entries(),
            write=lambda: tables.replace("rows", ROWS, run.batches(), "drop = 'a'"),
            output=lambda: "out",
        )
    assert tables.scan("rows", ROWS)["id"].to_pylist() == [5]


def _append_many(run: StageRun, first: int, count: int) -> None:
    for number in range(first, first + count):
        append(run, f"unit {number}", [number])


def test_three_hundred_units_of_several_workers_take_linear_space(tables: Tables) -> None:
    run = new_run(tables).open()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(run, first, 100)) for first in (0, 100)]
    for worker in workers:
        worker.start()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda first: _append_many(run, first, 50), (200, 250)))
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert ids(run) == list(range(300))
    assert list(run.scan(["id"]).read_all().column_names) == ["id"]
    files = list(tables.files.list(run.folder))
    assert len(files) <= 2 * 300 + 20  # a data file and a record for each unit, few manifests
    assert sum(file.size for file in files) < 300 * 3000
    assert len(staged_units.read(tables.files, f"{run.folder}/units")) == 300
    assert len(list(run.entries())) == 300
    assert run.tallies().to_pydict() == {"input": [2] * 300, "broken": [1] * 300}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(231_424_000, "231424000"), (0.12345678, "0.123457"), (-3.0, "-3"), (1e300, "1e+300")],
)
def test_the_ledger_has_whole_numbers_with_all_digits(value: float, expected: str) -> None:
    error = RecordError("image.pixels", "too many", value=value, threshold=100_000_000)
    entry = Entry.of("s", "k", error)
    assert (entry.value, entry.threshold, entry.outcome) == (expected, "100000000", "rejected")
