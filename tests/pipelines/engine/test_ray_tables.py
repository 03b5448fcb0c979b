"""Scratch tables on Ray have the rows of those in a database, for every operation."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engine.components import label_components
from pipelines.engine.duckdb_scratch import temporary_database
from pipelines.engine.ray_tables import RayTables
from pipelines.engine.scratch_tables import DuckDBTables, ScratchTables
from store.config.engine import DuckDB
from store.errors import ConfigError, DamagedTableError
from store.tables.table_version import TableVersion
from store.workspace import Workspace
from tests.helpers.hash_ranges import on_ray

pytestmark = pytest.mark.usefixtures("ray_cluster")
ROWS = pa.schema([("id", pa.string()), ("part", pa.string()), ("size", pa.int64())])
NAMES = st.text("abc", min_size=1, max_size=3)


def results(use: Callable[[ScratchTables], Any]) -> tuple[Any, Any]:
    """What a function returns for tables in a database, and for tables on Ray by many ranges."""
    with temporary_database(DuckDB()) as connection:
        in_database = use(DuckDBTables(connection))
    with on_ray():
        return in_database, use(RayTables(DuckDB()))


def rows(scratch: ScratchTables, name: str) -> list[tuple]:
    return sorted(tuple(row.values()) for row in scratch.select(f"FROM {name}", name).to_pylist())


def joined(scratch: ScratchTables, links: pa.Table) -> list[Any]:
    """Rows of joins, groups and orders of the links, by several columns."""
    scratch.load("links", links)
    scratch.load("few", links.slice(0, 3).select(["part"]).rename_columns(["chosen"]))
    groups = (
        "SELECT part, min(id) AS id, count(*) AS n FROM links WHERE in_range(part) GROUP BY part"
    )
    scratch.create("groups", groups, links="part")
    pairs = """
    SELECT links.id, groups.part, n FROM (FROM links WHERE in_range(id)) links
    JOIN (FROM groups WHERE in_range(id)) groups USING (id)
    SEMI JOIN few ON groups.part = chosen
    """
    scratch.create("pairs", pairs, links="id", groups="id")
    each = """
    SELECT a.id, b.part FROM (FROM links WHERE in_range(id)) a
    JOIN (FROM links WHERE in_range(part)) b ON a.id = b.part
    """
    scratch.create("equal", each, links=("id", "part"))
    scratch.number("ordered", "groups", ["n", "part"])
    in_order = list(scratch.in_order("ordered", ["part"], "part, number", rows=5))
    assert [table.num_rows for table in in_order[:-1]] == [5] * (len(in_order) - 1)
    smallest = "SELECT id, min(n) AS n FROM groups GROUP BY id ORDER BY n, id LIMIT 4"
    return [
        rows(scratch, "pairs"),
        rows(scratch, "equal"),
        rows(scratch, "ordered"),
        [row for table in in_order for row in table.to_pylist()],
        scratch.select(smallest, "groups").to_pylist(),
        scratch.count("links"),
        scratch.count("links", "size > 0"),
        scratch.sum("links", "size * 3"),
        scratch.sum("links", "hash(id)"),
        sum(scratch.fold(_total, "groups")),
    ]


def _total(block: pa.Table) -> int:
    return sum(block["n"].to_pylist())


@settings(max_examples=3)
@given(st.lists(st.tuples(NAMES, st.none() | NAMES, st.integers(-5, 5)), max_size=100))
def test_joins_groups_and_orders(links: list[tuple]) -> None:
    table = pa.Table.from_pylist([dict(zip(ROWS.names, row, strict=True)) for row in links], ROWS)
    in_database, on_nodes = results(partial(joined, links=table))
    assert on_nodes == in_database


def test_components() -> None:
    rng = np.random.default_rng(0)
    ids, parts = (rng.integers(0, most, 300).astype(str) for most in (200, 250))
    links = pa.table({"id": ids, "part": parts})

    def labels(scratch: ScratchTables) -> list[tuple]:
        scratch.load("links", links)
        label_components(scratch)
        return rows(scratch, "labels")

    in_database, on_nodes = results(labels)
    assert len(in_database) > 100
    assert 1 < len({label for _, label in in_database}) < 100
    assert on_nodes == in_database


def test_a_task_whose_process_dies_is_done_again(tmp_path: Path) -> None:
    with on_ray():
        scratch = RayTables(DuckDB())
        scratch.load("numbers", pa.table({"n": range(1000)}))
        scratch.create("some", "FROM numbers WHERE in_range(n)", numbers="n")
        assert sum(scratch.fold(partial(_dies_once, tmp_path / "died"), "some")) == 499_500
    assert (tmp_path / "died").exists()


def _dies_once(marker: Path, block: pa.Table) -> int:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(block["n"].to_pylist())


@pytest.fixture
def stored(tmp_path: Path) -> TableVersion:
    """A table of 12 fragments."""
    (tmp_path / "corpus.yaml").write_text("sources: {s: {path: drops}}\n")
    tables = Workspace.open(tmp_path).tables
    schema = pa.schema([("n", pa.int64())])
    for start in range(12):
        batch = pa.record_batch({"n": range(start * 10, start * 10 + 10)}, schema)
        tables.replace("numbers", schema, [batch], "false")
    return TableVersion(tables, "numbers", tables.version("numbers"))


def test_stored_rows_are_read_by_fragments(
    stored: TableVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.engine.ray_tables._SCANNED", 25)
    with on_ray():
        scratch = RayTables(DuckDB())
        scratch.scan("numbers", stored, {"m": "n + 1", "row": "_rowid"}, "n >= 30")
        assert len(list(scratch.fold(_count, "numbers"))) == 6
        table = scratch.select("FROM numbers ORDER BY m", "numbers")
    assert table["m"].to_pylist() == list(range(31, 121))
    assert len(table["row"].unique()) == 90


def _count(block: pa.Table) -> int:
    return block.num_rows


def test_damage_and_too_little_memory_are_typed_errors(stored: TableVersion) -> None:
    with on_ray():
        scratch = RayTables(DuckDB(memory=50_000_000))
        scratch.load("one", pa.table({"n": [1]}))
        query = "SELECT list(m) AS many FROM one, range(100_000_000) AS r(m) WHERE in_range(n)"
        scratch.create("many", query, one="n")
        with pytest.raises(ConfigError, match=r"set engine\.duckdb\.memory"):
            scratch.count("many")
        for file in Path(stored.tables.uri("numbers"), "data").iterdir():
            file.write_bytes(file.read_bytes()[:100])
        scratch.scan("numbers", stored, {"n": "n"})
        with pytest.raises(DamagedTableError):
            scratch.count("numbers")
