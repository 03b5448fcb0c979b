"""The Parquet reader: row groups are units, and a broken part costs its rows only."""

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.drops import find_drops
from pipelines.sources.read import read_unit
from pipelines.sources.units import list_units
from store.config.limits import Limits
from tests.helpers.manifests import write_parquet
from tests.helpers.rubbish import (
    bad_rules,
    good_keys,
    read_folder,
    read_items,
)

LIMITS = Limits()


def test_units_are_row_groups_and_rows_keep_their_numbers(tmp_path):
    write_parquet(
        tmp_path / "m.parquet", [{"text": f"{n}"} for n in range(9000)], row_group_size=1500
    )
    (drop,) = find_drops("s", str(tmp_path), "source").values()
    units = list_units(drop)
    assert [u.span for u in units] == [(0, 2), (2, 4), (4, 6)]
    items = [item for unit in units for item in read_items(unit)]
    assert [(r.key, r.text) for r in items] == [(f"row-{n}", b"%d" % n) for n in range(9000)]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"{}"])
def test_a_file_with_a_broken_footer_is_one_bad_record(tmp_path, data):
    (tmp_path / "m.parquet").write_bytes(data)
    assert bad_rules(read_folder(tmp_path)) == [("whole-file", "parquet.unreadable")]


def test_a_broken_row_group_costs_only_its_own_rows(tmp_path):
    path = tmp_path / "m.parquet"
    words = [{"text": f"word {n} " * 50, "key": f"k{n}"} for n in range(300)]
    write_parquet(path, words, row_group_size=100, compression="zstd", use_dictionary=False)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    begin = chunk.data_page_offset
    data[begin : begin + chunk.total_compressed_size] = b"\xaa" * chunk.total_compressed_size
    path.write_bytes(bytes(data))
    items = read_folder(tmp_path)
    assert good_keys(items) == [f"k{n}" for n in (*range(100), *range(200, 300))]
    assert bad_rules(items) == [(f"row-{n}", "parquet.corrupt") for n in range(100, 200)]


@settings(max_examples=60)
@given(
    damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
    cut=st.floats(0, 1),
)
def test_counts_equal_what_is_read_in_damaged_files(damage, cut):
    table = pa.table(
        {"key": [f"{n}" for n in range(50)], "jpg": [bytes([n]) * n for n in range(50)]}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.parquet")
        pq.write_table(table, path, row_group_size=20)
        data = bytearray(path.read_bytes())
        for position, value in damage:
            data[int(position * len(data))] = value
        path.write_bytes(bytes(data[: int(cut * len(data)) + 1] if cut < 0.5 else data))
        read_folder(folder)


def test_a_footer_that_claims_too_many_rows_is_refused(tmp_path):
    pq.write_table(pa.table({"text": pa.nulls(3_000_000, pa.string())}), tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").stat().st_size < 20_000
    assert bad_rules(read_folder(tmp_path)) == [("whole-file", "parquet.unreadable")]


def test_invalid_utf8_and_times_outside_the_calendar_cost_only_their_rows(tmp_path):
    words = pa.Array.from_buffers(
        pa.string(), 3, pa.array([b"fine", b"caf\xe9", b"good"], pa.binary()).buffers()
    )
    times = pa.array([0, 0, 1 << 62], pa.timestamp("us"))
    write_parquet(tmp_path / "m.parquet", pa.table({"text": words, "at": times}))
    items = read_folder(tmp_path)
    assert good_keys(items) == ["row-0"]
    assert bad_rules(items) == [("row-1", "text.encoding"), ("row-2", "row.unreadable")]


def test_large_rows_are_read_in_small_batches(tmp_path):
    rows = [{"jpg": os.urandom(8 << 20)} for _ in range(12)]
    write_parquet(
        tmp_path / "m.parquet", rows, write_batch_size=1
    )  # a page is read as a whole: one page a row
    del rows
    (drop,) = find_drops("s", str(tmp_path), "source").values()
    (unit,) = list_units(drop)
    before = pa.total_allocated_bytes()
    most = 0
    for _ in read_unit(unit, LIMITS):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 80 << 20
