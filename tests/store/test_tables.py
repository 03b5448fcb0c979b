"""Commits are atomic, within one process and between processes."""

import multiprocessing
import os
import pickle

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.errors import BusyError, ConservationError, NotFoundError, RecordError
from store.tables import schema, staging
from store.tables.lance_tables import Tables, quote
from store.tables.maintain import compact
from store.tables.staging import Counts, Entry, UnitOutcome, begin, publish, stage_record
from store.tables.table_version import TableVersion

ROWS = pa.schema([pa.field("drop", pa.string(), False), pa.field("id", pa.int64(), False)])


def rows(drop: str, ids: list[int]) -> list[pa.RecordBatch]:
    return pa.table({"drop": [drop] * len(ids), "id": ids}, schema=ROWS).to_batches()


def content(tables: Tables) -> dict[str, list[int]]:
    """The ids of the table `rows` by drop."""
    ids_by_drop: dict[str, list[int]] = {}
    for row in tables.scan("rows", ROWS).to_pylist():
        ids_by_drop.setdefault(row["drop"], []).append(row["id"])
    return {drop: sorted(ids) for drop, ids in ids_by_drop.items()}


_SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
_drops = st.sampled_from(["a", "b", "it's"])
_steps = st.lists(st.tuples(_drops, st.lists(st.integers(0, 9), unique=True)), max_size=8)


@settings(max_examples=8, suppress_health_check=_SLOW)
@given(_steps, st.booleans())
def test_replace_acts_like_a_dictionary(new_tables, steps, compacted) -> None:
    tables = new_tables()
    expected: dict[str, list[int]] = {}
    for drop, ids in steps:
        tables.replace("rows", ROWS, rows(drop, ids), f"drop = {quote(drop)}")
        expected[drop] = sorted(ids)
        if compacted:
            compact(tables, "rows")
    assert content(tables) == {drop: ids for drop, ids in expected.items() if ids}


@settings(max_examples=8, suppress_health_check=_SLOW)
@given(_steps, st.booleans())
def test_upsert_acts_like_a_dictionary_in_one_commit(new_tables, steps, compacted) -> None:
    tables = new_tables()
    tables.replace("rows", ROWS, rows("before", [0, 5]), None)
    expected = {0: "before", 5: "before"}
    for drop, ids in steps:
        version = tables.version("rows")
        committed = tables.upsert("rows", ROWS, rows(drop, ids), "id")
        expected |= dict.fromkeys(ids, drop)
        assert committed == tables.version("rows") == version + bool(ids)
        if compacted:
            compact(tables, "rows")
    actual = tables.scan("rows", ROWS).to_pylist()
    assert len(actual) == len(expected)
    assert {row["id"]: row["drop"] for row in actual} == expected


def _replace(tables: Tables, drop: str, first: int, barrier) -> None:
    barrier.wait()
    for _ in range(3):
        tables.replace(
            "rows", ROWS, rows(drop, list(range(first, first + 50))), f"drop = {quote(drop)}"
        )


def test_rows_of_files_that_a_task_wrote_come_with_the_commit(tables: Tables) -> None:
    version = TableVersion(tables, "rows", tables.replace("rows", ROWS, rows("a", [0, 1]), None))
    worker = pickle.loads(pickle.dumps(version))
    written = worker.write_rows(ROWS, rows("b", [2, 3]))
    assert content(tables) == {"a": [0, 1]}
    tables.replace("rows", ROWS, rows("c", [4]), "drop = 'a'", written=written)
    assert content(tables) == {"b": [2, 3], "c": [4]}


def test_concurrent_writers(tables: Tables) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    jobs = [("same", 0), ("same", 1000), ("other", 0)]
    writers = [
        context.Process(target=_replace, args=(tables, drop, first, barrier))
        for drop, first in jobs
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    ids = content(tables)
    assert ids["same"] in (list(range(50)), list(range(1000, 1050)))
    assert ids["other"] == list(range(50))


def test_nullable_columns_are_added(tables: Tables) -> None:
    tables.replace("rows", ROWS, rows("a", [1]), None)
    wider = ROWS.append(pa.field("note", pa.string()))
    more = pa.table({"drop": ["b"], "id": [2], "note": ["x"]}, schema=wider)
    tables.replace("rows", wider, more.to_batches(), "drop = 'b'")
    kept = tables.scan("rows", wider).sort_by("id").to_pylist()
    assert kept == [{"drop": "a", "id": 1, "note": None}, {"drop": "b", "id": 2, "note": "x"}]


def test_missing_tables(tables: Tables) -> None:
    with pytest.raises(NotFoundError, match="isotrope run"):
        tables.open("rows")
    assert tables.scan("rows", ROWS).num_rows == 0


def test_a_lock_has_one_holder(tables: Tables) -> None:
    with (
        tables.lock("rows"),
        pytest.raises(BusyError, match=f"process {os.getpid()} on "),
        pickle.loads(pickle.dumps(tables)).lock("rows", timeout=0.1),
    ):
        pass


def staged(run: staging.StageRun, unit: str, ids: list[int], failed: int = 0) -> None:
    entries = [Entry.of("s", f"{unit}{i}", RecordError("test.bad", "bad")) for i in range(failed)]
    outcome = UnitOutcome(len(ids) + failed, len(ids), entries)
    run.append(unit, rows("a", ids), lambda: outcome)


def published(tables: Tables, run: staging.StageRun, counts: Counts) -> None:
    publish(
        tables,
        run,
        counts=counts,
        entries=run.entries(),
        write=lambda: tables.replace("rows", ROWS, run.batches(), "drop = 'a'"),
        output=lambda: "out",
    )


def test_a_lost_record_publishes_nothing(tables: Tables) -> None:
    with begin(tables, "rows", "k1", ROWS, "a") as run:
        staged(run, "u1", [1, 2], failed=1)
        with pytest.raises(ConservationError, match="4 records went in"):
            published(tables, run, Counts(4, 2, failed=1))
        assert not tables.exists("rows")
        assert stage_record(tables, "rows", "a") is None
        published(tables, run, Counts(3, 2, failed=1))
    assert content(tables) == {"a": [1, 2]}
    ledger = tables.scan("ledger", schema.LEDGER).to_pylist()
    assert [(e["key"], e["rule"], e["outcome"]) for e in ledger] == [("u10", "test.bad", "failed")]
    assert not list(tables.files.list(run.folder))


def test_an_interrupted_run_resumes_with_its_complete_units(tables: Tables) -> None:
    with begin(tables, "rows", "k1", ROWS, "a") as run:
        staged(run, "u1", [1, 2])
        with pytest.raises(RuntimeError):  # rows were staged, but the unit is not complete
            run.append("u2", rows("a", [3]), lambda: (_ for _ in ()).throw(RuntimeError()))
    with begin(tables, "rows", "k1", ROWS, "a") as run:
        assert run.done() == ["u1"]
        staged(run, "u2", [3, 4])
        assert run.counts() == Counts(4, 4)
        published(tables, run, run.counts())
    assert content(tables) == {"a": [1, 2, 3, 4]}


def test_another_run_key_starts_again(tables: Tables) -> None:
    with begin(tables, "rows", "k1", ROWS, "a") as run:
        staged(run, "u1", [1, 2])
    with begin(tables, "rows", "k2", ROWS, "a") as other:
        assert other.done() == []
        assert not list(tables.files.list(run.folder))


def test_a_run_that_dies_while_publishing_counts_as_missing(tables: Tables) -> None:
    with begin(tables, "rows", "k1", ROWS, "a") as run:
        staged(run, "u1", [1])
        published(tables, run, run.counts())
    with begin(tables, "rows", "k2", ROWS, "a") as run:
        staged(run, "u1", [7])
        with pytest.raises(OSError, match="power cut"):
            publish(
                tables, run, counts=run.counts(), entries=[], write=_power_cut, output=lambda: "x"
            )
    assert stage_record(tables, "rows", "a") is None
    assert content(tables) == {"a": [1]}
    with begin(tables, "rows", "k2", ROWS, "a") as run:
        assert run.done() == ["u1"]
        published(tables, run, run.counts())
    assert content(tables) == {"a": [7]}


def _power_cut() -> None:
    raise OSError("power cut")
