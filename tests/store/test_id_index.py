"""The index of ids answers as a scan does, whatever happens to the table afterwards."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from store.tables import id_index
from store.tables.lance_tables import Tables
from store.tables.maintain import maintain

ROWS = pa.schema([pa.field("drop", pa.string(), False), pa.field("id", pa.string(), False)])
IDS = 40


def scanned(tables: Tables, where: str) -> list[dict[str, str]]:
    table = tables.open("rows").to_table(filter=where, use_scalar_index=False)
    return sorted(table.to_pylist(), key=str)


@pytest.mark.parametrize("seed", range(3))
def test_lookups_equal_scans_after_any_history(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_index, "LEAST_ROWS", 1)
    tables, rng = Tables(tmp_path), np.random.default_rng(seed)
    indexed = 0
    for _ in range(25):
        action = rng.choice(["replace", "replace", "upsert", "delete", "maintain"])
        ids = [f"{n:04x}" for n in rng.choice(IDS, rng.integers(1, 12), replace=False)]
        drop = f"d{rng.integers(4)}"
        batches = pa.table({"drop": [drop] * len(ids), "id": ids}, ROWS).to_batches()
        if action == "replace":
            tables.replace("rows", ROWS, batches, f"drop = '{drop}'")
        elif action == "upsert":
            tables.upsert("rows", ROWS, batches, "id")
        elif action == "delete":
            tables.replace("rows", ROWS, [], f"drop = '{drop}'")
        elif tables.exists("rows"):
            list(maintain(tables, timedelta(0)))
        if not tables.exists("rows"):
            continue
        table = tables.open("rows")
        indexed += bool(table.describe_indices())
        for number in range(IDS):
            where = f"id = '{number:04x}'"
            found = sorted(table.to_table(filter=where).to_pylist(), key=str)
            assert found == scanned(tables, where)
    assert indexed > 5


def test_small_tables_and_those_without_ids_have_none(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.replace("rows", ROWS, pa.table({"drop": ["a"], "id": ["1"]}, ROWS).to_batches(), None)
    list(maintain(tables, timedelta(0)))
    assert not tables.open("rows").describe_indices()


def test_new_rows_are_added_once_they_are_a_tenth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_index, "LEAST_ROWS", 100)
    tables = Tables(tmp_path)

    def add(drop: str, count: int) -> None:
        ids = [f"{drop}{n}" for n in range(count)]
        batches = pa.table({"drop": [drop] * count, "id": ids}, ROWS).to_batches()
        tables.replace("rows", ROWS, batches, f"drop = '{drop}'")

    def unindexed() -> int:
        id_index.index_ids(tables, "rows")
        return int(tables.open("rows").stats.index_stats("id_idx")["num_unindexed_rows"])

    add("a", 100)
    assert unindexed() == 0
    add("b", 5)
    assert unindexed() == 5
    add("c", 20)
    assert unindexed() == 0
