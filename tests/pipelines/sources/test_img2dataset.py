"""Output of img2dataset in its three formats: failed downloads become bad records."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources.drops import find_drops
from pipelines.sources.records import BadRecord
from pipelines.sources.units import list_units
from tests.helpers.rubbish import bad_rules, good_keys, picture, read_folder, tar_bytes

PICTURE = picture("JPEG")
# The columns and messages of img2dataset's writer and downloader.
SCHEMA = pa.schema(
    [
        *((n, pa.string()) for n in ("caption", "url", "key", "status", "error_message")),
        *((n, pa.int32()) for n in ("width", "height", "original_width", "original_height")),
        ("exif", pa.string()),
        ("sha256", pa.string()),
    ]
)
ERRORS = {2: ("failed_to_download", "HTTP Error 404: Not Found"), 5: ("failed_to_resize", "broken")}


def shard_metadata(number: int = 0, rows: int = 6) -> list[dict]:
    """The metadata of one shard, in which two rows have failed."""
    metadata = []
    for row in range(rows):
        status, error = ERRORS.get(row, ("success", None))
        metadata.append(
            {
                "caption": f"A picture {number} {row}.",
                "url": f"https://example.org/{number}/{row}.jpg",
                "key": f"{number:05d}{row:04d}",
                "status": status,
                "error_message": error,
                "width": 24 if error is None else None,
            }
        )
    return metadata


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
        write(tmp_path, format, shard_metadata(number), number)
    items = read_folder(tmp_path)
    fetched = [f"{number:05d}{row:04d}" for number in (0, 1) for row in (0, 1, 3, 4)]
    assert sorted(key.rpartition("/")[2] for key in good_keys(items)) == fetched
    assert all(
        r.image.startswith(PICTURE) and r.text for r in items if not isinstance(r, BadRecord)
    )
    errors = {r.key: (r.error.rule, r.error.error) for r in items if isinstance(r, BadRecord)}
    assert errors == {
        f"{number:05d}{row:04d}": ("fetch.failed", ": ".join(ERRORS[row]))
        for number in (0, 1)
        for row in ERRORS
    }


@pytest.mark.parametrize("format", ["webdataset", "files", "parquet"])
def test_a_shard_is_a_drop(tmp_path, format):
    for number in (0, 1):
        write(tmp_path, format, shard_metadata(number), number)
    drops = find_drops("s", str(tmp_path))
    assert list(drops) == ["00000", "00001"]
    formats = {unit.format for unit in list_units(drops["00000"])}
    expected = {"webdataset": "webdataset", "files": "folder", "parquet": "parquet"}[format]
    assert formats == {expected} | ({"fetched"} if format != "parquet" else set())


@pytest.mark.parametrize("format", ["webdataset", "files"])
def test_fetched_samples_that_are_missing_are_reported(tmp_path, format):
    write(tmp_path, format, shard_metadata())
    if format == "files":
        for file in (tmp_path / "00000").glob("000000003.*"):
            file.unlink()
    else:
        kept = [m for m in members(shard_metadata()) if not m[0].startswith("000000003")]
        (tmp_path / "00000.tar").write_bytes(tar_bytes(kept))
    items = read_folder(tmp_path)
    assert len(good_keys(items)) == 3
    assert dict(bad_rules(items))["000000003"] == "fetch.lost"
    assert len(items) == 6


def test_a_truncated_tar_and_a_missing_tar(tmp_path):
    write(tmp_path, "webdataset", shard_metadata())
    tar = tmp_path / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:3000])
    items = read_folder(tmp_path)
    assert {"fetch.lost", "fetch.failed", "tar.truncated"} <= {rule for _, rule in bad_rules(items)}
    tar.unlink()  # a table without a tar is a manifest of URLs
    assert {rule for _, rule in bad_rules(read_folder(tmp_path))} == {
        "fetch.missing",
        "fetch.failed",
    }


def test_broken_metadata_costs_no_sample(tmp_path):
    write(tmp_path, "webdataset", shard_metadata())
    table = tmp_path / "00000.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    items = read_folder(tmp_path)
    assert len(good_keys(items)) == 4
    assert bad_rules(items) == [("whole-file", "parquet.unreadable")]


def test_a_table_without_img2datasets_columns_is_a_manifest(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes([("x.jpg", PICTURE)]))
    pq.write_table(pa.table({"text": ["of its own"]}), tmp_path / "a.parquet")
    assert good_keys(read_folder(tmp_path)) == ["x", "row-0"]


def test_rows_with_urls_alone_ask_for_img2dataset(tmp_path):
    rows = [{"URL": "https://example.org/1.jpg", "TEXT": "One.", "NSFW": "UNLIKELY"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "laion.parquet")
    (item,) = read_folder(tmp_path)
    assert item.error.rule == "fetch.missing"
    assert "img2dataset" in item.error.error
