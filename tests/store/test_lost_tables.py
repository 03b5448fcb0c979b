"""Tables that are gone, and lost newest versions, are found in folders and in object stores."""

import lance
import pyarrow as pa
import pytest

from store.errors import DamagedTableError
from store.tables import checksums, maintain, repair
from store.tables.check import check_files
from store.tables.lance_tables import Tables
from store.tables.lost_tables import all_names, check_none_lost
from store.tables.table_files import manifest_of

NAME = "signals"


@pytest.fixture
def table(tables: Tables) -> Tables:
    """A table with three versions and checksums, in a local folder and on the S3 server."""
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    for number in range(2):
        batches = pa.table({"id": [number]}, schema=schema).to_batches()
        tables.replace(NAME, schema, batches, "false")
        checksums.record(tables, NAME)
    assert tables.version(NAME) == 3
    check_none_lost(tables)
    assert problems(tables) == []
    return tables


def problems(tables: Tables) -> list[str]:
    return [finding.problem for finding in check_files(tables) if not finding.passed]


def repaired(tables: Tables) -> repair.Prognosis:
    """Repair the table and check that it is sound; return what was done."""
    prognosis = repair.examine(tables, NAME, all_names(tables)[NAME], [])
    assert prognosis is not None
    repair.mend(tables, prognosis)
    check_none_lost(tables)
    assert problems(tables) == []
    return prognosis


def test_a_lost_newest_version_is_found_and_repaired(table: Tables) -> None:
    table.files.delete([f"{NAME}.lance/{manifest_of(3)}"])
    (problem,) = problems(table)
    assert "the manifest of version 3 is missing, the newest is 2" in problem
    for use in (check_none_lost, lambda tables: list(maintain.maintain(tables))):
        with pytest.raises(DamagedTableError, match="the manifest of version 3 is missing"):
            use(table)
    prognosis = repaired(table)
    assert (prognosis.way, prognosis.base) == ("went back", 2)
    assert table.open(NAME).to_table()["id"].to_pylist() == [0]


def test_a_lost_table_is_found_and_given_up(table: Tables) -> None:
    table.files.delete_folder(f"{NAME}.lance")
    (problem,) = problems(table)
    assert "table 'signals' is lost" in problem
    for use in (check_none_lost, lambda tables: list(maintain.maintain(tables))):
        with pytest.raises(DamagedTableError, match="its version 3 was recorded"):
            use(table)
    check_none_lost(table, "samples")
    assert repaired(table).way == "moved away"
    assert all_names(table) == {}


def test_newer_versions_and_tables_without_checksums_are_not_lost(table: Tables) -> None:
    dataset = table.open(NAME)
    dataset.insert(pa.table({"id": [7]}, schema=dataset.schema))
    rows = pa.table({"id": [1]})
    lance.write_dataset(rows, table.uri("other"), storage_options=table.storage_options)
    check_none_lost(table)
    assert problems(table) == []
    assert all_names(table) == {NAME: 3, "other": 0}
