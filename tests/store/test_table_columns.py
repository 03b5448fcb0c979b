"""Rows are never lost because a table has other columns than the code expects."""

from pathlib import Path

import lance
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.policy.signal_columns import measured
from pipelines.stages import staleness
from store.errors import SchemaError
from store.tables import formats, releases, schema
from store.tables.lance_tables import Tables
from store.tables.maintain import compact
from store.workspace import Workspace
from tests.helpers.corpus import deliver, write_config
from tests.helpers.stages import curate

ROWS = pa.schema(
    [
        pa.field("drop", pa.string(), False),
        pa.field("id", pa.int64(), False),
        pa.field("note", pa.string()),
    ]
)
VECTORS = schema.vectors(2)


def rows(drop: str, ids: list[int], columns: pa.Schema = ROWS) -> list[pa.RecordBatch]:
    values = [{"drop": drop, "id": i, "note": f"{drop}{i}"} for i in ids]
    return pa.Table.from_pylist(values, schema=columns).to_batches()


def vectors(ids: list[str], width: int) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    columns = schema.vectors(width)
    values = [
        {"part_id": i, "modality": "text", "encoder": "e", "vector": [1.0] * width} for i in ids
    ]
    return columns, pa.Table.from_pylist(values, schema=columns).to_batches()


def two_drops(tables: Tables) -> None:
    tables.replace("rows", ROWS, rows("a", [1, 2]), "drop = 'a'")
    tables.replace("rows", ROWS, rows("b", [3]), "drop = 'b'")


def content(tables: Tables, *columns: str) -> list[tuple]:
    table = tables.open("rows").to_table(columns=list(columns))
    return sorted(zip(*table.to_pydict().values(), strict=True))


@pytest.mark.parametrize("expression", ["'x'", "CAST(NULL AS INT)", "id * 2"])
@pytest.mark.parametrize("method", ["replace", "upsert"])
def test_a_column_of_the_user_is_kept(tables: Tables, expression: str, method: str) -> None:
    two_drops(tables)
    tables.open("rows").add_columns({"mine": expression})
    before = content(tables, "id", "note", "mine")
    if method == "replace":
        tables.replace("rows", ROWS, rows("a", [1, 7]), "drop = 'a'")
        kept = [row for row in before if row[0] == 3]
    else:
        tables.upsert("rows", ROWS, rows("a", [1, 7]), "id")
        kept = [row for row in before if row[0] != 1]
    expected = sorted([*kept, (1, "a1", None), (7, "a7", None)])
    assert content(tables, "id", "note", "mine") == expected
    assert tables.scan("rows", ROWS).schema.equals(ROWS)
    tables.replace("rows", ROWS, rows("c", [9]), None)  # of all rows
    assert content(tables, "id", "note", "mine") == [(9, "c9", None)]


def test_a_nullable_column_is_added(tables: Tables) -> None:
    narrow = pa.schema([f for f in ROWS if f.name != "note"])
    tables.replace("rows", narrow, rows("a", [1], narrow), None)
    lacking = tables.scan("rows", ROWS)
    assert lacking.schema.equals(ROWS)
    assert lacking.to_pylist() == [{"drop": "a", "id": 1, "note": None}]
    assert tables.scan("rows", ROWS, ["note"]).to_pylist() == [{"note": None}]
    tables.upsert("rows", ROWS, rows("b", [2]), "id")
    assert content(tables, "id", "note") == [(1, None), (2, "b2")]


_WRONG = {
    "type": pa.schema([ROWS.field("drop"), pa.field("id", pa.int32(), False), ROWS.field("note")]),
    "missing": pa.schema([ROWS.field("drop"), ROWS.field("note")]),
    "null": pa.schema([ROWS.field("drop"), ROWS.field("id"), ROWS.field("note").with_nullable(0)]),
}


@pytest.mark.parametrize("wrong", _WRONG)
@pytest.mark.parametrize("method", ["replace", "upsert"])
def test_other_differences_are_refused_and_nothing_is_written(
    tables: Tables, wrong: str, method: str
) -> None:
    columns = _WRONG[wrong]
    tables.replace("rows", columns, rows("a", [1, 2], columns), None)
    version, before = tables.version("rows"), tables.open("rows").to_table()
    column = "note" if wrong == "null" else "id"
    argument = "drop = 'b'" if method == "replace" else "id"
    with pytest.raises(SchemaError, match=f"'rows': column '{column}' .* Nothing was written"):
        getattr(tables, method)("rows", ROWS, rows("b", [3]), argument)
    assert tables.version("rows") == version
    assert tables.open("rows").to_table() == before
    if wrong != "null":
        with pytest.raises(SchemaError, match=r"column 'id' .* expects the type int64"):
            tables.scan("rows", ROWS)


def test_a_replacement_of_all_rows_may_change_the_columns_in_one_commit(tables: Tables) -> None:
    two_drops(tables)
    tables.open("rows").add_columns({"mine": "'x'"})
    tables.open("rows").alter_columns({"path": "mine", "nullable": True})
    other = pa.schema([pa.field("part", pa.list_(pa.float32(), 3), False), ROWS.field("drop")])
    version = tables.version("rows")
    batch = pa.Table.from_pylist([{"part": [1, 2, 3], "drop": "z"}], schema=other).to_batches()
    assert tables.replace("rows", other, batch, None) == version + 1
    dataset = tables.open("rows")
    assert dataset.schema.names == ["part", "drop", "note", "mine"]
    expected = [{"part": [1, 2, 3], "drop": "z", "note": None, "mine": None}]
    assert dataset.to_table().to_pylist() == expected
    assert formats.format_of(dataset.schema) == formats.FORMAT
    assert tables.open("rows", version).count_rows() == 3  # readers of older versions


def test_vectors_of_another_width_are_replaced_only_on_request(tables: Tables) -> None:
    tables.upsert("v", *vectors(["p", "q"], 2), "part_id")
    with pytest.raises(SchemaError, match="column 'vector'"):
        tables.upsert("v", *vectors(["r"], 3), "part_id")
    tables.upsert("v", *vectors(["r"], 3), "part_id", other_width=True)
    assert tables.scan("v", schema.vectors(3), ["part_id"])["part_id"].to_pylist() == ["r"]
    wrong = pa.schema([f if f.name != "modality" else f.with_type(pa.int8()) for f in VECTORS])
    with pytest.raises(SchemaError, match="column 'modality'"):  # more than the width differs
        tables.upsert("v", wrong, [], "part_id", other_width=True)


_changes = st.lists(
    st.tuples(
        st.sampled_from(["add", "drop", "reorder", "write", "upsert", "compact"]),
        st.integers(0, 3),
    ),
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(_changes)
def test_no_change_of_columns_by_other_tools_loses_a_row(tmp_path_factory, changes) -> None:
    tables = Tables(tmp_path_factory.mktemp("tables"))
    tables.replace("rows", ROWS, rows("base", [100, 101]), None)
    expected = {100: "base", 101: "base"}
    for number, (change, n) in enumerate(changes):
        dataset = tables.open("rows")
        if change == "add":
            dataset.add_columns({f"user{number}": f"'{n}'"})
        elif change == "drop" and "note" in dataset.schema.names:
            dataset.drop_columns(["note"])
        elif change == "reorder":
            columns = pa.schema(list(ROWS)[::-1])
            tables.replace("rows", columns, rows("r", [n], columns), f"id = {n}")
            expected[n] = "r"
        elif change == "write":
            tables.replace("rows", ROWS, rows("w", [n]), f"id = {n}")
            expected[n] = "w"
        elif change == "upsert":
            tables.upsert("rows", ROWS, rows("u", [n]), "id")
            expected[n] = "u"
        elif change == "compact":
            compact(tables, "rows")
        result = tables.scan("rows", ROWS, ["id", "drop"]).to_pylist()
        assert {row["id"]: row["drop"] for row in result} == expected
        assert len(result) == len(expected)


def test_an_extra_column_in_samples_loses_no_drop(tmp_path: Path) -> None:
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "a", 6)
    deliver(tmp_path / "drops" / "b", 4, first=100)
    tables = curate(tmp_path).tables
    columns = {"samples": "'mine'", "signals": "1.5", "stages": "'mine'", "ledger": "1"}
    for name, expression in columns.items():
        tables.open(name).add_columns({"user": expression})
    deliver(tmp_path / "drops" / "a", 2, first=50)
    workspace = curate(tmp_path)
    assert workspace.tables.open("samples").count_rows() == 12
    recorded = workspace.tables.scan("stages", schema.STAGES)
    assert sorted(recorded["stage"].to_pylist()) == [
        *("decisions", "duplicates", "samples", "samples", "signals", "signals")
    ]
    users = workspace.tables.open("samples").to_table(columns=["drop", "user"]).to_pylist()
    assert all(row["user"] == ("mine" if row["drop"] == "b" else None) for row in users)
    assert not {"samples", "signals"} & set(staleness.stale(workspace, "b"))


def test_a_missing_column_does_not_read_as_nothing_made(tmp_path: Path) -> None:
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "a", 6)
    workspace = curate(tmp_path)
    tables = workspace.tables
    tables.open("stages").drop_columns(["run_key"])
    with pytest.raises(SchemaError, match="table 'stages': column 'run_key' is missing"):
        staleness.stale(workspace, "a")
    partial = pa.schema([f for f in schema.RELEASES if f.name != "directions"])
    lance.write_dataset(partial.empty_table(), tables.uri("releases"), schema=partial)
    with pytest.raises(SchemaError, match="table 'releases': column 'directions' is missing"):
        releases.latest_release(tables)


def test_signals_of_an_older_version_are_read_as_nulls(tmp_path: Path) -> None:
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "a", 6)
    workspace: Workspace = curate(tmp_path)
    workspace.tables.open("signals").drop_columns(["text_chars"])
    table = measured(workspace, ["text_chars", "image_width"])
    assert table["text_chars"].to_pylist() == [None] * 6
    assert None not in table["image_width"].to_pylist()
