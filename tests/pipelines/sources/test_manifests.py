"""Manifests in Parquet, JSONL and Lance: rows are records, and a broken row costs itself only."""

import json
from datetime import datetime

import lance
import pyarrow as pa
import pytest

from pipelines.samples.sample_row import sample_row
from pipelines.sources.drops import find_drops, listing_hash
from pipelines.sources.units import list_units
from store.config.limits import Limits
from store.config.sources import Columns
from tests.helpers.manifests import write_jsonl, write_manifest, write_parquet
from tests.helpers.rubbish import (
    bad_rules,
    good_keys,
    picture,
    read_folder,
    tone,
)

LIMITS = Limits()
PICTURE = picture()


KINDS = ["m.parquet", "m.jsonl", "m.lance"]


@pytest.mark.parametrize("name", KINDS)
def test_paths_in_rows_must_stay_inside_the_drop(tmp_path, name):
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
    write_manifest(
        drop / name, [{"key": k, "path": p, "caption": f"of {k}"} for k, p in paths.items()]
    )
    items = read_folder(drop)
    assert good_keys(items) == ["relative", "sound", "absolute"]
    assert dict(bad_rules(items)) == {
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
    image, recording = items[0], items[1]
    assert (image.image, image.text, image.source) == (PICTURE, b"of relative", name)
    assert recording.image is None
    assert recording.audio == tone()


@pytest.mark.parametrize("name", ["m.parquet", "m.lance"])
def test_rows_may_hold_bytes(tmp_path, name):
    rows = [
        {"id": "one", "jpg": PICTURE, "audio": {"bytes": tone(), "path": "x.wav"}, "txt": "One."},
        {"id": "two", "jpg": None, "audio": {"bytes": None, "path": None}, "txt": "Two."},
        {"id": "three", "jpg": b"", "audio": None, "txt": "Three."},
        {"id": "four", "jpg": b"x" * 2000, "audio": None, "txt": None},
        {"id": None, "jpg": None, "audio": None, "txt": " "},
    ]
    write_manifest(tmp_path / name, rows)
    items = read_folder(tmp_path, Limits(image_bytes=1999))
    assert good_keys(items) == ["one", "two", "three"]
    assert (items[0].image, items[0].audio, items[0].text) == (PICTURE, tone(), b"One.")
    assert items[1].image is items[1].audio is None
    assert items[2].image == b""  # an empty image is a broken image, not a missing one
    assert [rule for _, rule in bad_rules(items)] == ["image.bytes", "record.empty"]
    assert items[4].key.startswith("row-")


def test_other_columns_become_the_metadata(tmp_path):
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
    write_parquet(tmp_path / "m.parquet", table)
    (record,) = read_folder(tmp_path, columns=Columns(captions={"de": "caption_de"}))
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


def test_column_names_come_from_corpus_yaml(tmp_path):
    write_jsonl(
        tmp_path / "m.jsonl", [{"nr": 7, "bild": "a.png", "wort": "Eins.", "caption": "no"}]
    )
    (tmp_path / "a.png").write_bytes(PICTURE)
    columns = Columns(key="nr", image=["foto", "bild"], text="wort")
    (record,) = read_folder(tmp_path, columns=columns)
    assert (record.key, record.image, record.text) == ("7", PICTURE, b"Eins.")


@pytest.mark.parametrize("name", KINDS)
def test_files_named_by_a_manifest_are_not_also_loose_files(tmp_path, name):
    for file in ("a.png", "b.png", "loose.png"):
        (tmp_path / file).write_bytes(PICTURE)
    write_manifest(
        tmp_path / name, [{"file_name": "a.png"}, {"file_name": str(tmp_path / "b.png")}]
    )
    items = read_folder(tmp_path)
    assert [item.image_name for item in items] == ["a.png", "b.png", "loose.png"]


def test_each_manifest_in_the_source_folder_is_a_drop(tmp_path):
    write_manifest(tmp_path / "one.parquet", [{"text": "a"}])
    write_manifest(tmp_path / "two.jsonl", [{"text": "a"}])
    write_manifest(tmp_path / "three.lance", [{"text": "a"}])
    (tmp_path / "four").mkdir()
    write_manifest(tmp_path / "four" / "five.lance", [{"text": "a"}])
    write_manifest(tmp_path / "four" / "six.ndjson", [{"text": "a"}])
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
