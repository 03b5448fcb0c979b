"""Parquet, JSONL and Lance as sources: rows are records, and what is broken costs its row."""

import json
import os
import tempfile
import tracemalloc
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.samples.sample_row import sample_row
from pipelines.sources.drops import find_drops, listing_hash
from pipelines.sources.read import read_unit
from pipelines.sources.records import Unit
from pipelines.sources.units import list_units
from store.config.limits import Limits
from store.config.sources import Columns
from tests.helpers.rubbish import bad, delivered, good, gzipped, items, picture, tone

LIMITS = Limits()
PICTURE = picture()


def parquet(path: Path, rows: list[dict] | pa.Table, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path, **options
    )


def jsonl(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def write(path: Path, rows: list[dict]) -> Path:
    """A manifest, by its suffix."""
    if path.suffix == ".lance":
        lance.write_dataset(pa.Table.from_pylist(rows), str(path))
    else:
        (parquet if path.suffix == ".parquet" else jsonl)(path, rows)
    return path


KINDS = ["m.parquet", "m.jsonl", "m.lance"]


@pytest.mark.parametrize("name", KINDS)
def test_rows_name_files_by_paths_that_stay_inside(tmp_path, name):
    drop = tmp_path / "drop"
    (drop / "media").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(PICTURE)
    (drop / "media" / "a.png").write_bytes(PICTURE)
    (drop / "media" / "b.wav").write_bytes(tone())
    (drop / "media" / "out.png").symlink_to(tmp_path / "secret.png")
    paths = {
        "relative": "media/a.png",
        "sound": "media/b.wav",
        "absolute": str(drop / "media" / "a.png"),
        "up": "../secret.png",
        "around": "media/../../secret.png",
        "away": str(tmp_path / "secret.png"),
        "etc": "/etc/passwd",
        "link": "media/out.png",
        "gone": "media/gone.png",
        "folder": "media",
        "nul": "a\0b.png",
        "web": "https://example.org/a.png",
        "bucket": "s3://bucket/a.png",
    }
    write(drop / name, [{"key": k, "path": p, "caption": f"of {k}"} for k, p in paths.items()])
    found = delivered(drop)
    assert good(found) == ["relative", "sound", "absolute"]
    assert dict(bad(found)) == {
        "up": "file.outside",
        "around": "file.outside",
        "away": "file.outside",
        "etc": "file.outside",
        "link": "file.outside",
        "gone": "file.unreadable",
        "folder": "file.not_a_file",
        "nul": "file.unreadable",
        "web": "fetch.missing",
        "bucket": "file.outside",
    }
    image, sound = found[0], found[1]
    assert (image.image, image.text, image.source) == (PICTURE, b"of relative", name)
    assert sound.image is None
    assert sound.audio == tone()


@pytest.mark.parametrize("name", ["m.parquet", "m.lance"])
def test_rows_hold_bytes(tmp_path, name):
    rows = [
        {"id": "one", "jpg": PICTURE, "audio": {"bytes": tone(), "path": "x.wav"}, "txt": "One."},
        {"id": "two", "jpg": None, "audio": {"bytes": None, "path": None}, "txt": "Two."},
        {"id": "three", "jpg": b"", "audio": None, "txt": "Three."},
        {"id": "four", "jpg": b"x" * 2000, "audio": None, "txt": None},
        {"id": None, "jpg": None, "audio": None, "txt": " "},
    ]
    write(tmp_path / name, rows)
    found = delivered(tmp_path, Limits(image_bytes=1999))
    assert good(found) == ["one", "two", "three"]
    assert (found[0].image, found[0].audio, found[0].text) == (PICTURE, tone(), b"One.")
    assert found[1].image is found[1].audio is None
    assert found[2].image == b""  # an empty picture is a broken one, not a missing one
    assert [rule for _, rule in bad(found)] == ["image.bytes", "record.empty"]
    assert found[4].key.startswith("row-")


def test_the_rest_of_a_row_is_its_meta(tmp_path):
    table = pa.table(
        {
            "__key__": ["a"],
            "image": [PICTURE],
            "text": ["A cat."],
            "similarity": [float("nan")],
            "score": pa.array([0.5], pa.float32()),
            "at": [datetime(2020, 1, 2)],
            "tags": [["x", "ü"]],
            "box": [{"left": 1, "top": None}],
            "raw": [b"\xff\x00"],
            "words": [b"caf\xc3\xa9"],
            "thumbnail": [b"x" * 5000],
            "nothing": pa.nulls(1),
            "url": ["https://example.org/a.png"],
            "caption_de": ["Eine Katze."],
        }
    )
    parquet(tmp_path / "m.parquet", table)
    (record,) = delivered(tmp_path, columns=Columns(captions={"de": "caption_de"}))
    row = sample_row(record, LIMITS)
    assert json.loads(row["meta"]) == {
        "similarity": None,
        "score": 0.5,
        "at": "2020-01-02 00:00:00",
        "tags": ["x", "ü"],
        "box": {"left": 1, "top": None},
        "raw": {"base64": "/wA="},
        "words": "café",
        "thumbnail": {"bytes": 5000},
        "url": "https://example.org/a.png",
        "captions": {"de": "Eine Katze."},
    }
    assert (row["text"], row["key"]) == ("A cat.", "a")


def test_columns_are_those_that_corpus_yaml_names(tmp_path):
    jsonl(tmp_path / "m.jsonl", [{"nr": 7, "bild": "a.png", "wort": "Eins.", "caption": "no"}])
    (tmp_path / "a.png").write_bytes(PICTURE)
    columns = Columns(key="nr", image=["foto", "bild"], text="wort")
    (record,) = delivered(tmp_path, columns=columns)
    assert (record.key, record.image, record.text) == ("7", PICTURE, b"Eins.")


@pytest.mark.parametrize("name", KINDS)
def test_files_that_a_manifest_names_are_no_records_of_their_own(tmp_path, name):
    for file in ("a.png", "b.png", "loose.png"):
        (tmp_path / file).write_bytes(PICTURE)
    write(tmp_path / name, [{"file_name": "a.png"}, {"file_name": str(tmp_path / "b.png")}])
    found = delivered(tmp_path)
    assert [item.image_name for item in found] == ["a.png", "b.png", "loose.png"]


def test_drops_are_entries(tmp_path):
    write(tmp_path / "one.parquet", [{"text": "a"}])
    write(tmp_path / "two.jsonl", [{"text": "a"}])
    write(tmp_path / "three.lance", [{"text": "a"}])
    (tmp_path / "four").mkdir()
    write(tmp_path / "four" / "five.lance", [{"text": "a"}])
    write(tmp_path / "four" / "six.ndjson", [{"text": "a"}])
    drops = find_drops("s", str(tmp_path))
    names = {name: [u.name for u in list_units(drop)] for name, drop in drops.items()}
    assert names == {
        "one": ["one.parquet:000000"],
        "two": ["two.jsonl:000000"],
        "three": ["three.lance:000000"],
        "four": ["six.ndjson:000000", "five.lance:000000"],
    }
    before = listing_hash(drops["three"])
    lance.write_dataset(pa.table({"text": ["b"]}), str(tmp_path / "three.lance"), mode="append")
    assert listing_hash(drops["three"]) != before


# Parquet


def test_units_are_row_groups_and_rows_keep_their_numbers(tmp_path):
    parquet(tmp_path / "m.parquet", [{"text": f"{n}"} for n in range(9000)], row_group_size=1500)
    (drop,) = find_drops("s", str(tmp_path), "source").values()
    units = list_units(drop)
    assert [u.span for u in units] == [(0, 2), (2, 4), (4, 6)]
    found = [item for unit in units for item in items(unit)]
    assert [(r.key, r.text) for r in found] == [(f"row-{n}", b"%d" % n) for n in range(9000)]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"{}"])
def test_a_file_whose_footer_is_broken_is_one_bad_record(tmp_path, data):
    (tmp_path / "m.parquet").write_bytes(data)
    assert bad(delivered(tmp_path)) == [("whole-file", "parquet.unreadable")]


def test_a_broken_row_group_costs_its_rows_and_no_others(tmp_path):
    path = tmp_path / "m.parquet"
    words = [{"text": f"word {n} " * 50, "key": f"k{n}"} for n in range(300)]
    parquet(path, words, row_group_size=100, compression="zstd", use_dictionary=False)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    begin = chunk.data_page_offset
    data[begin : begin + chunk.total_compressed_size] = b"\xaa" * chunk.total_compressed_size
    path.write_bytes(bytes(data))
    found = delivered(tmp_path)
    assert good(found) == [f"k{n}" for n in (*range(100), *range(200, 300))]
    assert bad(found) == [(f"row-{n}", "parquet.corrupt") for n in range(100, 200)]


@settings(max_examples=60)
@given(
    damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
    cut=st.floats(0, 1),
)
def test_parquet_is_counted_as_it_is_read_however_broken(damage, cut):
    table = pa.table(
        {"key": [f"{n}" for n in range(50)], "jpg": [bytes([n]) * n for n in range(50)]}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.parquet")
        pq.write_table(table, path, row_group_size=20)
        data = bytearray(path.read_bytes())
        for place, value in damage:
            data[int(place * len(data))] = value
        path.write_bytes(bytes(data[: int(cut * len(data)) + 1] if cut < 0.5 else data))
        delivered(folder)


def test_a_footer_that_promises_a_flood_of_rows_is_not_believed(tmp_path):
    pq.write_table(pa.table({"text": pa.nulls(3_000_000, pa.string())}), tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").stat().st_size < 20_000
    assert bad(delivered(tmp_path)) == [("whole-file", "parquet.unreadable")]


def test_texts_that_are_no_utf8_and_times_beyond_the_calendar_cost_their_rows(tmp_path):
    words = pa.Array.from_buffers(
        pa.string(), 3, pa.array([b"fine", b"caf\xe9", b"good"], pa.binary()).buffers()
    )
    times = pa.array([0, 0, 1 << 62], pa.timestamp("us"))
    parquet(tmp_path / "m.parquet", pa.table({"text": words, "at": times}))
    found = delivered(tmp_path)
    assert good(found) == ["row-0"]
    assert bad(found) == [("row-1", "text.encoding"), ("row-2", "row.unreadable")]


def test_large_rows_are_read_few_at_a_time(tmp_path):
    rows = [{"jpg": os.urandom(8 << 20)} for _ in range(12)]
    parquet(tmp_path / "m.parquet", rows, write_batch_size=1)  # a page a row: pages are kept whole
    del rows
    (drop,) = find_drops("s", str(tmp_path), "source").values()
    (unit,) = list_units(drop)
    before = pa.total_allocated_bytes()
    most = 0
    for _ in read_unit(unit, LIMITS):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 80 << 20


# JSONL


def test_lines_that_are_broken_cost_themselves(tmp_path):
    lines = [
        {"text": "one"},
        b"{",
        b"[1]",
        b'"words"',
        b'{"text": "caf\xe9"}',
        b'{"text": NaN}',
        b'{"text": "a", "text": "b"}',
        b'{"a": ' * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b"",
        b"   ",
        b'{"text": "half \\ud800"}',
        {"text": 5},
        {"text": "two", "key": "k"},
        {"key": "none"},
    ]
    jsonl(tmp_path / "m.jsonl", lines)
    found = delivered(tmp_path)
    rules = [rule for _, rule in bad(found)]
    assert good(found)[0] == "byte-0"
    assert good(found)[-1] == "k"
    assert len(good(found)) == 3  # half a surrogate pair is found out as text
    assert rules == ["jsonl.invalid"] * 8 + ["text.column", "record.empty"]


def test_an_endless_line_is_passed_over_in_little_memory(tmp_path):
    long = b'{"text": "' + b"x" * 50_000_000 + b'"}'
    jsonl(tmp_path / "m.jsonl", [{"text": "before"}, long, {"text": "after"}])
    (drop,) = find_drops("s", str(tmp_path), "source").values()
    tracemalloc.start()
    found = [item for unit in list_units(drop) for item in items(unit)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000
    assert [r.text for r in found if not hasattr(r, "error")] == [b"before", b"after"]
    (error,) = [item.error for item in found if hasattr(item, "error")]
    assert (error.rule, error.value, error.threshold) == ("jsonl.bytes", len(long), 2 << 20)


@settings(max_examples=60)
@given(
    lines=st.lists(
        st.sampled_from([b"", b" ", b'{"text":"x"}', b"{", b"y" * 300, b"\r"]), max_size=30
    ),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    ends=st.booleans(),
)
def test_every_line_is_in_one_range_wherever_it_is_cut(lines, cuts, ends):
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "m.jsonl").write_bytes(data)
        whole = Unit("d", "u", "jsonl", folder, ("m.jsonl",))
        places = sorted({0, len(data), *(int(c * len(data)) for c in cuts)})
        limits = Limits(text_bytes=100, meta_bytes=100)
        parts = [
            item
            for span in pairwise(places)
            for item in items(Unit("d", "u", "jsonl", folder, ("m.jsonl",), span), limits)
        ]
        expected = items(whole, limits)
        assert [p.key for p in parts] == [e.key for e in expected]
        assert len(expected) == sum(1 for line in lines if line.strip())


def test_gzipped_lines_are_one_unit_and_a_cut_is_said(tmp_path):
    data = gzipped(b"".join(b'{"text": "%d"}\n' % n for n in range(2000)))
    (tmp_path / "m.jsonl.gz").write_bytes(data)
    assert len(good(delivered(tmp_path))) == 2000
    (tmp_path / "m.jsonl.gz").write_bytes(data[:-2000])
    found = delivered(tmp_path)
    assert 0 < len(good(found)) < 2000
    assert bad(found)[-1][1] == "jsonl.truncated"


# Lance


def test_fragments_are_read_at_the_version_that_was_listed(tmp_path):
    path = str(tmp_path / "m.lance")
    for start in (0, 3000, 6000):
        rows = pa.table(
            {"key": [f"k{n}" for n in range(start, start + 3000)], "text": ["x"] * 3000}
        )
        lance.write_dataset(rows, path, mode="append" if start else "create")
    lance.dataset(path).delete("key IN ('k1', 'k3001')")
    (drop,) = find_drops("s", str(tmp_path), "source").values()
    units = list_units(drop)
    assert [u.span for u in units] == [(0, 1), (1, 2), (2, 3)]
    lance.dataset(path).delete("key = 'k5'")
    found = [item for unit in units for item in items(unit)]
    assert good(found) == [f"k{n}" for n in range(9000) if n not in (1, 3001)]


def test_broken_lance_files_cost_their_fragment(tmp_path):
    path = tmp_path / "m.lance"
    for n in range(3):
        write_one = pa.table({"key": [f"{n}-{m}" for m in range(20)], "text": ["x"] * 20})
        lance.write_dataset(write_one, str(path), mode="append" if n else "create")
    files = [f.data_files()[0].path for f in lance.dataset(str(path)).get_fragments()]
    (path / "data" / files[1]).write_bytes(b"nothing")
    found = delivered(tmp_path)
    assert good(found) == [f"{n}-{m}" for n in (0, 2) for m in range(20)]
    assert {rule for _, rule in bad(found)} == {"lance.corrupt"}
    assert len(bad(found)) == 20
    for version in (path / "_versions").iterdir():
        version.write_bytes(b"nothing")
    assert bad(delivered(tmp_path)) == [("whole-file", "lance.unreadable")]


def test_links_in_a_lance_dataset_are_not_followed(tmp_path):
    write(tmp_path / "elsewhere.lance", [{"text": "secret"}])
    drop = tmp_path / "drop"
    drop.mkdir()
    write(drop / "m.lance", [{"text": "own"}])
    (file,) = (drop / "m.lance" / "data").iterdir()
    (other,) = (tmp_path / "elsewhere.lance" / "data").iterdir()
    file.unlink()
    file.symlink_to(other)
    assert bad(delivered(drop)) == [("whole-file", "file.outside")]
    (drop / "whole.lance").symlink_to(tmp_path / "elsewhere.lance")
    assert ("whole", "file.outside") in bad(delivered(drop))
