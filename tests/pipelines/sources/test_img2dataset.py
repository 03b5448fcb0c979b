"""What img2dataset writes, in its three formats: what it could not fetch is in the ledger."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources.drops import find_drops
from pipelines.sources.records import BadRecord
from pipelines.sources.units import list_units
from tests.helpers.rubbish import bad, delivered, good, picture, tar_bytes

PICTURE = picture("JPEG")
# Columns and words are those of img2dataset's writer and downloader.
SCHEMA = pa.schema(
    [
        *((n, pa.string()) for n in ("caption", "url", "key", "status", "error_message")),
        *((n, pa.int32()) for n in ("width", "height", "original_width", "original_height")),
        ("exif", pa.string()),
        ("sha256", pa.string()),
    ]
)
ERRORS = {2: ("failed_to_download", "HTTP Error 404: Not Found"), 5: ("failed_to_resize", "broken")}


def shard(number: int = 0, rows: int = 6) -> list[dict]:
    """The metadata of one shard, two of whose rows have failed."""
    made = []
    for row in range(rows):
        status, error = ERRORS.get(row, ("success", None))
        made.append(
            {
                "caption": f"A picture {number} {row}.",
                "url": f"https://example.org/{number}/{row}.jpg",
                "key": f"{number:05d}{row:04d}",
                "status": status,
                "error_message": error,
                "width": 24 if error is None else None,
            }
        )
    return made


def write_table(path: Path, rows: list[dict], schema: pa.Schema = SCHEMA) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=100)
    path.with_name(f"{path.stem}_stats.json").write_text(json.dumps({"count": len(rows)}))


def members(rows: list[dict]) -> list[tuple[str, bytes]]:
    return [
        (f"{row['key']}.{extension}", data)
        for row in rows
        if row["status"] == "success"
        for extension, data in (
            ("jpg", PICTURE + row["key"].encode()),
            ("txt", row["caption"].encode()),
            ("json", json.dumps(row).encode()),
        )
    ]


def write(root: Path, format: str, rows: list[dict], number: int = 0) -> None:
    name = f"{number:05d}"
    if format == "parquet":
        held = [
            row | {"jpg": PICTURE + row["key"].encode() if row["status"] == "success" else None}
            for row in rows
        ]
        write_table(root / f"{name}.parquet", held, SCHEMA.append(pa.field("jpg", pa.binary())))
        return
    write_table(root / f"{name}.parquet", rows)
    if format == "webdataset":
        (root / f"{name}.tar").write_bytes(tar_bytes(members(rows)))
        return
    (root / name).mkdir()
    for path, data in members(rows):
        (root / name / path).write_bytes(data)


@pytest.mark.parametrize("format", ["webdataset", "files", "parquet"])
def test_each_format_gives_the_same_records(tmp_path, format):
    for number in (0, 1):
        write(tmp_path, format, shard(number), number)
    found = delivered(tmp_path)
    fetched = [f"{number:05d}{row:04d}" for number in (0, 1) for row in (0, 1, 3, 4)]
    assert sorted(key.rpartition("/")[2] for key in good(found)) == fetched
    assert all(
        r.image.startswith(PICTURE) and r.text for r in found if not isinstance(r, BadRecord)
    )
    said = {r.key: (r.error.rule, r.error.error) for r in found if isinstance(r, BadRecord)}
    assert said == {
        f"{number:05d}{row:04d}": ("fetch.failed", ": ".join(ERRORS[row]))
        for number in (0, 1)
        for row in ERRORS
    }


@pytest.mark.parametrize("format", ["webdataset", "files", "parquet"])
def test_a_shard_is_a_drop(tmp_path, format):
    for number in (0, 1):
        write(tmp_path, format, shard(number), number)
    drops = find_drops("s", str(tmp_path))
    assert list(drops) == ["00000", "00001"]
    formats = {unit.format for unit in list_units(drops["00000"])}
    expected = {"webdataset": "webdataset", "files": "folder", "parquet": "parquet"}[format]
    assert formats == {expected} | ({"fetched"} if format != "parquet" else set())


@pytest.mark.parametrize("format", ["webdataset", "files"])
def test_what_was_fetched_and_is_lost_is_told(tmp_path, format):
    write(tmp_path, format, shard())
    if format == "files":
        for file in (tmp_path / "00000").glob("000000003.*"):
            file.unlink()
    else:
        kept = [m for m in members(shard()) if not m[0].startswith("000000003")]
        (tmp_path / "00000.tar").write_bytes(tar_bytes(kept))
    found = delivered(tmp_path)
    assert len(good(found)) == 3
    assert dict(bad(found))["000000003"] == "fetch.lost"
    assert len(found) == 6


def test_a_cut_tar_and_a_missing_one(tmp_path):
    write(tmp_path, "webdataset", shard())
    tar = tmp_path / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:3000])
    found = delivered(tmp_path)
    assert {"fetch.lost", "fetch.failed", "tar.truncated"} <= {rule for _, rule in bad(found)}
    tar.unlink()  # then nothing lies beside the table, and its rows are addresses
    assert {rule for _, rule in bad(delivered(tmp_path))} == {"fetch.missing", "fetch.failed"}


def test_broken_metadata_costs_no_sample(tmp_path):
    write(tmp_path, "webdataset", shard())
    table = tmp_path / "00000.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    found = delivered(tmp_path)
    assert len(good(found)) == 4
    assert bad(found) == [("whole-file", "parquet.unreadable")]


def test_another_table_beside_a_tar_is_a_manifest(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes([("x.jpg", PICTURE)]))
    pq.write_table(pa.table({"text": ["of its own"]}), tmp_path / "a.parquet")
    assert good(delivered(tmp_path)) == ["x", "row-0"]


def test_addresses_alone_say_who_fetches_them(tmp_path):
    rows = [{"URL": "https://example.org/1.jpg", "TEXT": "One.", "NSFW": "UNLIKELY"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "laion.parquet")
    (found,) = delivered(tmp_path)
    assert found.error.rule == "fetch.missing"
    assert "img2dataset" in found.error.error
