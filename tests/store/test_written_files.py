"""A full disk: files that were cut while they were written are never committed.

A limit on the size of files stands for the full disk: the writes beyond it fail likewise.
"""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from store.errors import StoreError
from store.tables.lance_tables import Tables
from store.tables.maintain import maintain
from store.tables.written_files import bitmap_size, check_written

SCHEMA = pa.schema([pa.field("drop", pa.string(), False), pa.field("n", pa.int64(), False)])


def rows(drop: str, numbers: range) -> list[pa.RecordBatch]:
    table = pa.table({"drop": [drop] * len(numbers), "n": list(numbers)}, SCHEMA)
    return table.to_batches()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def content(tables: Tables) -> list[tuple[str, int]]:
    table = tables.open("rows").to_table()
    return sorted(zip(table["drop"].to_pylist(), table["n"].to_pylist(), strict=True))


def outcomes(folder: Path, change: Callable[[Tables], object]) -> set[str]:
    """What happens to a change with each limit: "done", "refused", "cut", and never a bad table."""
    seen = set()
    for size in range(1, 1600, 33):
        tables = Tables(folder / str(size))
        for drop in ("a", "b"):
            tables.replace("rows", SCHEMA, rows(drop, range(50)), f"drop = '{drop}'")
        before = content(tables)
        try:
            with largest_file(size):
                change(tables)
        except StoreError as error:
            seen.add("cut" if "is the disk full?" in str(error) else str(error))
        except OSError:
            seen.add("refused")
        else:
            seen.add("done")
            continue
        assert content(tables) == before
        change(tables)  # with room again
    return seen


def test_rows_are_added_whole_or_not_at_all(tmp_path: Path) -> None:
    def change(tables: Tables) -> None:
        tables.replace("rows", SCHEMA, rows("c", range(60)), "drop = 'c'")
        assert len(content(tables)) == 160

    assert outcomes(tmp_path, change) == {"done", "refused", "cut"}


def test_rows_are_deleted_whole_or_not_at_all(tmp_path: Path) -> None:
    def change(tables: Tables) -> None:
        tables.replace("rows", SCHEMA, [], "n % 7 = 0")
        assert len(content(tables)) == 84

    assert "cut" in outcomes(tmp_path, change)


def test_compaction_keeps_all_rows(tmp_path: Path) -> None:
    def change(tables: Tables) -> None:
        maintain(tables, timedelta(0))
        assert len(content(tables)) == 100

    assert "done" in outcomes(tmp_path, change)


@pytest.mark.parametrize("condition", ["n % 2 = 0", "n < 70_000", "n % 7 < 6"])
def test_the_size_of_a_bitmap_of_deleted_rows(tmp_path: Path, condition: str) -> None:
    table = lance.write_dataset(pa.table({"n": range(140_000)}), tmp_path / "rows.lance")
    (fragment,) = table.get_fragments()
    remaining = fragment.delete(condition.replace("_", ""))
    assert remaining is not None
    assert remaining.deletion_file is not None
    assert remaining.deletion_file.file_type == "bitmap"
    path = tmp_path / "rows.lance" / remaining.deletion_file.path(remaining.id)
    data = path.read_bytes()
    assert bitmap_size(data) == len(data)
    check_written(table.uri, [remaining])
    for size in (0, 7, 9, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(StoreError, match="was cut"):
            check_written(table.uri, [remaining])
