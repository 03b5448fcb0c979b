"""Formats of tables: old corpora open, newer ones are refused, migrations lose nothing."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import lance
import pyarrow as pa
import pytest

import isotrope
from pipelines.stages import staleness
from store.errors import FormatError
from store.tables import formats, migrations, releases, schema
from store.tables.lance_tables import Tables
from store.tables.maintain import compact
from tests.helpers.migrations import MIGRATION
from tests.helpers.served import DATA, stored_corpus

ROOT = Path(__file__).resolve().parents[2]
ROWS = pa.schema([pa.field("drop", pa.string(), False), pa.field("id", pa.int64(), False)])


def rows(drop: str, ids: list[int]) -> list[pa.RecordBatch]:
    return pa.table({"drop": [drop] * len(ids), "id": ids}, schema=ROWS).to_batches()


def test_every_format_has_a_stored_corpus() -> None:
    stored = {path.name for path in DATA.glob("corpus-format-*.tar.gz")}
    assert stored == {f"corpus-format-{n}.tar.gz" for n in range(1, formats.FORMAT + 1)}


@pytest.mark.parametrize("format_", range(1, formats.FORMAT + 1))
def test_a_stored_corpus_opens_searches_and_is_up_to_date(tmp_path: Path, format_: int) -> None:
    workspace = stored_corpus(tmp_path, format_)
    tables = workspace.tables
    before = {name: tables.open(name, any_format=True).count_rows() for name in tables.names()}
    migrations.migrate_all(tables)
    assert {name: tables.open(name).count_rows() for name in tables.names()} == before
    # If a stage's version is raised, its stages and those after it are stale on purpose:
    # `gallery` has scaled its biases since then, and `index` was added later.
    assert staleness.stale(workspace, None) == ["gallery", "index", "release"]
    assert staleness.drops_with_samples(workspace) == ["first", "second"]
    for drop in staleness.drops_with_samples(workspace):
        assert staleness.stale(workspace, drop) == []
    hits = isotrope.connect(tmp_path).search(text="a red square number 15").limit(3).to_list()
    assert hits[0]["key"] == "red-0015"
    ledger = tables.scan("ledger", schema.LEDGER).to_pylist()
    assert {row["key"] for row in ledger} >= {"broken"}


def test_new_tables_carry_the_format_and_their_schema_is_unchanged(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.replace("rows", ROWS, rows("a", [1]), "false")
    metadata = tables.open("rows").schema.metadata
    assert metadata == {b"isotrope.format": str(formats.FORMAT).encode()}
    assert str(ROWS) == "drop: string not null\nid: int64 not null"
    wide = ROWS.append(pa.field("note", pa.string()))
    tables.replace("rows", wide, [], "false")
    assert tables.open("rows").schema.metadata == metadata  # adding a column keeps it
    compact(tables, "rows")
    assert tables.open("rows").schema.metadata == metadata


def test_a_table_without_a_format_has_format_1(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    lance.write_dataset(pa.Table.from_batches(rows("a", [1])), tables.uri("rows"))
    assert formats.format_of(tables.open("rows").schema) == 1
    assert migrations.migrate(tables, "rows") == []
    tables.replace("rows", ROWS, rows("b", [2]), "drop = 'b'")
    assert tables.scan("rows", ROWS)["id"].to_pylist() == [1, 2]


def test_a_newer_format_is_refused_everywhere(tmp_path: Path) -> None:
    workspace = stored_corpus(tmp_path, 1)
    tables = workspace.tables
    newer = str(formats.FORMAT + 1)
    for name in ("releases", "samples"):
        tables.open(name).update_schema_metadata({"isotrope.format": newer})
    versions = {name: lance.dataset(tables.uri(name)).version for name in ("releases", "samples")}
    match = rf"table '\w+' has format {newer}, but this version of isotrope reads formats up to"
    for action in (
        lambda: tables.open("samples"),
        lambda: tables.exists("samples"),
        lambda: tables.scan("samples", schema.SAMPLES),
        lambda: tables.replace("samples", schema.SAMPLES, [], "drop = 'first'"),
        lambda: tables.upsert("samples", schema.SAMPLES, [], "id"),
        lambda: migrations.migrate_all(tables),
        lambda: releases.latest_release(tables),
        lambda: isotrope.connect(tmp_path).search(text="a red square").to_list(),
    ):
        with pytest.raises(FormatError, match=match):
            action()
    for name, version in versions.items():
        assert lance.dataset(tables.uri(name)).version == version


def test_an_old_format_without_a_migration_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(tmp_path)
    tables.replace("rows", ROWS, rows("a", [1]), None)
    monkeypatch.setattr(formats, "FORMAT", 2)
    with pytest.raises(FormatError, match="must be migrated to format 2: `isotrope run`"):
        tables.open("rows")
    with pytest.raises(FormatError, match="no migration leads from there to format 2"):
        migrations.migrate(tables, "rows")
    assert tables.open("rows", version=tables.open("rows", any_format=True).version).count_rows()


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMAT", 2)
    monkeypatch.setattr(migrations, "MIGRATIONS", (MIGRATION,))


def test_a_migration_runs_once_and_keeps_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(tmp_path)
    for drop in ("a", "b"):
        tables.replace("rows", ROWS, rows(drop, [1, 2]), f"drop = '{drop}'")
    install(monkeypatch)
    assert migrations.migrate_all(tables) == {"rows": ["name-from-id"]}
    assert migrations.migrate_all(tables) == {}
    assert_migrated(tables)
    assert Path(tmp_path, "counted").read_text() == "4\n"


def assert_migrated(tables: Tables) -> None:
    dataset = tables.open("rows")
    assert dataset.schema.names == ["drop", "old_id", "name"]
    assert dataset.schema.metadata == {b"isotrope.format": b"2"}
    result = sorted((r["drop"], r["old_id"], r["name"]) for r in dataset.to_table().to_pylist())
    assert result == [(drop, n, f"n{n}") for drop in ("a", "b") for n in (1, 2)]


def test_a_migration_that_is_killed_resumes(tmp_path: Path) -> None:
    chance = random.Random(13)
    interrupted = 0
    for round_ in range(5):
        folder = tmp_path / str(round_)
        tables = Tables(folder)
        for drop in ("a", "b"):
            tables.replace("rows", ROWS, rows(drop, [1, 2]), f"drop = '{drop}'")
        delay = chance.uniform(0, 0.12)
        while True:  # kill, and kill the next attempt later
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.helpers.migrations", str(folder)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            try:
                process.wait(delay)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                interrupted += 1
                delay += 0.1
                dataset = tables.open("rows", any_format=True)
                assert dataset.count_rows() == 4
            finally:
                process.stdout.close()
        assert process.returncode == 0
        with pytest.MonkeyPatch.context() as patch:
            install(patch)
            assert migrations.migrate_all(tables) == {}
            assert_migrated(tables)
    assert interrupted >= 3
