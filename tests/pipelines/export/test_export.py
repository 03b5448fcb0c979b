"""Content of exports: kept samples come out unchanged in all formats, with any keys."""

import json
import re
import tempfile
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.export.shard_lists import read_shard_list, write_shard_lists
from pipelines.export.stage import Options, export
from pipelines.export.target_folder import STATE
from store.config.engine import Engine
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.exports import (
    CONFIG,
    CONTACT,
    file_contents,
    kept_samples,
    modification_times,
    summary,
    tar_members,
)
from tests.helpers.stages import curate


def test_a_webdataset_is_read_again_as_the_same_samples(corpus: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = export(corpus, out, Options("webdataset", shard_samples=20))
    expected = kept_samples(corpus)
    assert (
        result.samples
        == expected.num_rows
        == (stage_record(corpus.tables, "decisions") or {})["kept"]
    )
    assert result.shards == 3
    assert [s["samples"] for s in summary(out)["shards"]] == [20, 20, result.samples - 40]
    assert summary(out)["drops"] == {"first": 49, "second": 6, "third": 1, "fourth": 2}
    assert not (out / STATE).exists()
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "corpus.yaml").write_text(CONFIG.replace("path: drops", f"path: {out}"))
    again = curate(tmp_path / "again")
    columns = ["id", "text", "image", "audio"]
    by_id = [("id", "ascending")]
    reread = kept_samples(again).select(columns).sort_by(by_id)
    assert reread.equals(expected.select(columns).sort_by(by_id))
    assert set(again.tables.scan("samples", schema.SAMPLES)["drop"].to_pylist()) == {
        "samples-000000",
        "samples-000001",
        "samples-000002",
    }


def test_names_are_safe_and_unique_and_the_json_has_the_keys(
    corpus: Workspace, tmp_path: Path
) -> None:
    export(corpus, tmp_path, Options("webdataset"))
    members = tar_members(tmp_path)
    metas = {name: json.loads(parts["json"]) for name, parts in members.items()}
    expected = kept_samples(corpus).to_pylist()
    assert len(members) == len(expected)
    for (name, parts), row in zip(members.items(), expected, strict=True):
        origin = metas[name]["isotrope"]
        assert {n: origin[n] for n in ("drop", "source", "key", "id")} == {
            n: row[n] for n in ("drop", "source", "key", "id")
        }
        assert parts.get("png") == row["image"]
        assert parts.get("wav") == row["audio"]
        assert {n: v for n, v in metas[name].items() if n != "isotrope"} == {
            n: v for n, v in json.loads(row["meta"] or "{}").items() if n != "isotrope"
        }
        assert "signals" not in origin
        is_safe = row["key"] == "plain/key-1" or row["drop"] == "first"
        assert (name == row["key"]) == (is_safe and row["key"] != "t00-0000")
        assert not name.startswith("/")
        assert ".." not in name
    for start in ("t00-0000~", "dup_k~"):  # in two drops
        assert sum(name.startswith(start) for name in members) == 2
    assert metas["plain/key-1"]["isotrope"]["before"] == {"key": "older"}


def test_the_same_decisions_give_the_same_bytes(corpus: Workspace, tmp_path: Path) -> None:
    for to in ("webdataset", "parquet"):
        one, two = tmp_path / f"{to}-1", tmp_path / f"{to}-2"
        options = Options(to, signals=True, shard_samples=30)
        export(corpus, one, options)
        export(corpus, two, options)
        assert file_contents(one) == file_contents(two)
        assert len(file_contents(one)) == 3
        before = modification_times(one)
        export(corpus, one, options)
        assert modification_times(one) == before


@pytest.mark.parametrize("to", ["parquet", "lance"])
def test_parquet_and_lance_hold_samples_and_signals(
    corpus: Workspace, tmp_path: Path, to: str
) -> None:
    export(corpus, tmp_path / "out", Options(to, signals=True, shard_samples=25))
    if to == "parquet":
        exported = pq.read_table(tmp_path / "out" / "samples.parquet")
        groups = pq.read_metadata(tmp_path / "out" / "samples.parquet" / "000000.parquet")
        assert (groups.num_rows, groups.num_row_groups) == (25, 1)
    else:
        dataset = lance.dataset(tmp_path / "out" / "samples.lance")
        exported = dataset.to_table()
        assert [f.count_rows() for f in dataset.get_fragments()] == [25, 25, exported.num_rows - 50]
    expected = kept_samples(corpus)
    assert exported.select(schema.SAMPLES.names).to_pylist() == expected.to_pylist()
    measured = corpus.tables.scan("signals", schema.SIGNALS).to_pylist()
    signals_of = {(row["drop"], row["id"]): row for row in measured}
    for row in exported.to_pylist():
        signals = signals_of[row["drop"], row["id"]]
        assert {n: row[n] for n in schema.SIGNAL_TYPES} == {
            n: signals[n] for n in schema.SIGNAL_TYPES
        }
    about = {n.decode(): v.decode() for n, v in exported.schema.metadata.items()}
    policies = corpus.tables.scan("decisions", schema.DECISIONS)["policy"].to_pylist()
    assert {about["policy"]} == set(policies) == {summary(tmp_path / "out")["policy"]}


def test_contacts_are_masked_with_the_option_mask(corpus: Workspace, tmp_path: Path) -> None:
    export(corpus, tmp_path / "tar", Options("webdataset", mask=True))
    masked = "ask <email> or <phone>, see <url>"
    (parts,) = [p for name, p in tar_members(tmp_path / "tar").items() if name.startswith("x_y~")]
    assert parts["txt"].decode() == masked
    assert json.loads(parts["json"])["captions"] == {"de": masked}
    assert summary(tmp_path / "tar")["masked"] == "true"
    export(corpus, tmp_path / "table", Options("parquet", mask=True))
    texts = pq.read_table(tmp_path / "table" / "samples.parquet")["text"].to_pylist()
    assert masked in texts
    assert CONTACT not in texts


def test_shards_are_limited_by_bytes(corpus: Workspace, tmp_path: Path) -> None:
    expected = kept_samples(corpus)
    export(corpus, tmp_path / "out", Options("parquet", shard_bytes=1700))
    shards = [pq.read_table(p) for p in sorted((tmp_path / "out").rglob("*/*.parquet"))]
    assert pa.concat_tables(shards)["id"].to_pylist() == expected["id"].to_pylist()
    assert len(shards) > 3
    for shard in shards:
        media = [pc.sum(shard[c]).as_py() or 0 for c in ("image_bytes", "audio_bytes")]
        assert sum(media) <= 1700 or shard.num_rows == 1


@settings(max_examples=15)
@given(st.lists(st.text(st.sampled_from("ab./~-_ж \\'"), max_size=90), min_size=1, max_size=40))
def test_names_are_unique_for_any_keys(keys: list[str]) -> None:
    rows = [{"drop": "d", "id": f"{n:032x}", "key": k, "source": "s"} for n, k in enumerate(keys)]
    decisions = [{**row, "keep": n % 5 > 0, "policy": ""} for n, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(folder)
        for name, columns, records in (
            ("samples", schema.SAMPLES, rows),
            ("decisions", schema.DECISIONS, decisions),
        ):
            batch = pa.RecordBatch.from_pylist(records, schema=columns)
            tables.replace(name, columns, [batch], None)
        versions = {name: tables.version(name) for name in ("samples", "decisions")}
        sizes = write_shard_lists(
            tables, versions, tables.files, Path(folder), Engine(), max_samples=7, max_bytes=1 << 20
        )
        names = [
            n
            for k in range(len(sizes))
            for n in read_shard_list(tables.files, k)["name"].to_pylist()
        ]
    expected = [
        row["key"] for row in sorted(rows, key=lambda r: r["key"]) if int(row["id"], 16) % 5
    ]
    assert sum(sizes) == len(names) == len(set(names)) == len(expected)
    assert all(size == 7 for size in sizes[:-1])
    for name, key in zip(names, expected, strict=True):
        assert re.fullmatch(r"([A-Za-z0-9_-]+/)*[A-Za-z0-9_~-]+", name)
        assert name == key or "~" in name
