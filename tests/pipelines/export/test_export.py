"""Exports: what is kept comes out unchanged, in all formats, whatever keys are and when killed."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import lance
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.feather import read_table

from orchestration.cli.main import main
from orchestration.definitions import VARIABLE, definitions
from pipelines.decisions.stage import decide
from pipelines.export.shard_lists import lay_out, place
from pipelines.export.stage import Options, export
from pipelines.export.target_folder import STATE
from pipelines.stages.context import StageContext
from store.config.policy import Policy
from store.errors import ConservationError, InputError
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.staging import record
from store.workspace import Workspace
from tests.helpers.corpus import picture
from tests.helpers.stages import curate
from tests.helpers.trio import deliver

CONFIG = """\
sources:
  here: {path: drops}
policy:
  text_chars: {max: 70}
engine: {signals: beam}
"""
KEYS = ["t00-0000", "a dir/ж", "x~y", "dup/k", "k" * 300, "plain/key-1"]
OUTSIDE = ["../../etc/x", "/root"]  # what a tar may not hold, a manifest may call a row
CONTACT = "ask me@example.org or +49 30 1234567, see https://example.org"


def tar(path: Path, keys: list[str], first: int = 0) -> None:
    """Hostile keys, each with a picture, a caption and metadata of its own."""
    with tarfile.open(path, "w") as out:
        for number, key in enumerate(keys, first):
            meta = {"captions": {"de": CONTACT}, "number": number, "isotrope": {"key": "older"}}
            text = CONTACT if key == "x~y" else f"caption {number}"
            members = {
                "png": picture((number, 0, 90), number + 1000),
                "txt": text.encode(),
                "json": json.dumps(meta).encode(),
            }
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))


def manifest(path: Path) -> None:
    rows = {
        "key": OUTSIDE,
        "image": [picture((n, 0, 90), n + 2000) for n in range(len(OUTSIDE))],
        "text": [f"\ufeff\ufeffrow {n}" for n in range(len(OUTSIDE))],
        "number": list(range(len(OUTSIDE))),
    }
    pq.write_table(pa.table(rows), path)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("export")
    (root / "corpus.yaml").write_text(CONFIG)
    deliver(root / "drops" / "first", range(48))
    (root / "drops" / "first" / "long.txt").write_text("too long " * 20)
    (root / "drops" / "first" / "only.json").write_text('{"caption": "in the JSON alone"}')
    tar(root / "drops" / "second.tar", KEYS)
    tar(root / "drops" / "third.tar", ["dup/k"], first=50)
    manifest(root / "drops" / "fourth.parquet")
    return curate(root)


def kept(corpus: Workspace) -> pa.Table:
    """What the decisions keep, in the order of an export."""
    decided = corpus.tables.scan("decisions", schema.DECISIONS, ["drop", "id"], "keep")
    places = {(r["drop"], r["id"]) for r in decided.to_pylist()}
    samples = corpus.tables.scan("samples", schema.SAMPLES)
    pairs = zip(samples["drop"].to_pylist(), samples["id"].to_pylist(), strict=True)
    rows = samples.filter(pa.array([pair in places for pair in pairs]))
    return rows.sort_by([(c, "ascending") for c in ("drop", "key", "id")])


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in _paths(folder)}


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in _paths(folder)}


def _paths(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file()]


def members(folder: Path) -> dict[str, dict[str, bytes]]:
    """Name -> extension -> bytes, of all shards."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as shard:
            for info in shard:
                name, _, extension = info.name.partition(".")
                assert extension not in found.setdefault(name, {})
                assert (info.mtime, info.uid, info.gid, info.uname) == (0, 0, 0, "")
                file = shard.extractfile(info)
                assert file is not None
                found[name][extension] = file.read()
    return found


def told(folder: Path) -> dict:
    return json.loads((folder / "isotrope.json").read_text())


def test_a_webdataset_is_read_again_as_the_same_samples(corpus: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = export(corpus, out, Options("webdataset", shard_samples=20))
    expected = kept(corpus)
    assert done.samples == expected.num_rows == (record(corpus.tables, "decisions") or {})["kept"]
    assert done.shards == 3
    assert [s["samples"] for s in told(out)["shards"]] == [20, 20, done.samples - 40]
    assert told(out)["drops"] == {"first": 49, "second": 6, "third": 1, "fourth": 2}
    assert not (out / STATE).exists()
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "corpus.yaml").write_text(CONFIG.replace("path: drops", f"path: {out}"))
    again = curate(tmp_path / "again")
    columns = ["id", "text", "image", "audio"]
    by_id = [("id", "ascending")]
    found = kept(again).select(columns).sort_by(by_id)
    assert found.equals(expected.select(columns).sort_by(by_id))
    assert set(again.tables.scan("samples", schema.SAMPLES)["drop"].to_pylist()) == {
        "samples-000000",
        "samples-000001",
        "samples-000002",
    }


def test_names_are_safe_and_unique_and_keys_are_told(corpus: Workspace, tmp_path: Path) -> None:
    export(corpus, tmp_path, Options("webdataset"))
    found = members(tmp_path)
    about = {name: json.loads(parts["json"]) for name, parts in found.items()}
    expected = kept(corpus).to_pylist()
    assert len(found) == len(expected)
    for (name, parts), row in zip(found.items(), expected, strict=True):
        said = about[name]["isotrope"]
        assert {n: said[n] for n in ("drop", "source", "key", "id")} == {
            n: row[n] for n in ("drop", "source", "key", "id")
        }
        assert parts.get("png") == row["image"]
        assert parts.get("wav") == row["audio"]
        assert {n: v for n, v in about[name].items() if n != "isotrope"} == {
            n: v for n, v in json.loads(row["meta"] or "{}").items() if n != "isotrope"
        }
        assert "signals" not in said
        plain = row["key"] == "plain/key-1" or row["drop"] == "first"
        assert (name == row["key"]) == (plain and row["key"] != "t00-0000")
        assert not name.startswith("/")
        assert ".." not in name
    for twice in ("t00-0000~", "dup_k~"):  # in two drops
        assert sum(name.startswith(twice) for name in found) == 2
    assert about["plain/key-1"]["isotrope"]["before"] == {"key": "older"}


def test_the_same_decisions_give_the_same_bytes(corpus: Workspace, tmp_path: Path) -> None:
    for to in ("webdataset", "parquet"):
        one, two = tmp_path / f"{to}-1", tmp_path / f"{to}-2"
        options = Options(to, signals=True, shard_samples=30)
        export(corpus, one, options)
        export(corpus, two, options)
        assert files(one) == files(two)
        assert len(files(one)) == 3
        before = times(one)
        export(corpus, one, options)
        assert times(one) == before


@pytest.mark.parametrize("to", ["parquet", "lance"])
def test_tables_hold_samples_and_signals(corpus: Workspace, tmp_path: Path, to: str) -> None:
    export(corpus, tmp_path / "out", Options(to, signals=True, shard_samples=25))
    if to == "parquet":
        found = pq.read_table(tmp_path / "out" / "samples.parquet")
        groups = pq.read_metadata(tmp_path / "out" / "samples.parquet" / "000000.parquet")
        assert (groups.num_rows, groups.num_row_groups) == (25, 1)
    else:
        dataset = lance.dataset(tmp_path / "out" / "samples.lance")
        found = dataset.to_table()
        assert [f.count_rows() for f in dataset.get_fragments()] == [25, 25, found.num_rows - 50]
    expected = kept(corpus)
    assert found.select(schema.SAMPLES.names).to_pylist() == expected.to_pylist()
    known = corpus.tables.scan("signals", schema.SIGNALS).to_pylist()
    by_place = {(row["drop"], row["id"]): row for row in known}
    for row in found.to_pylist():
        signals = by_place[row["drop"], row["id"]]
        assert {n: row[n] for n in schema.SIGNAL_TYPES} == {
            n: signals[n] for n in schema.SIGNAL_TYPES
        }
    about = {n.decode(): v.decode() for n, v in found.schema.metadata.items()}
    policies = corpus.tables.scan("decisions", schema.DECISIONS)["policy"].to_pylist()
    assert {about["policy"]} == set(policies) == {told(tmp_path / "out")["policy"]}


def test_addresses_are_masked_where_it_is_asked_for(corpus: Workspace, tmp_path: Path) -> None:
    export(corpus, tmp_path / "tar", Options("webdataset", mask=True))
    masked = "ask <email> or <phone>, see <url>"
    (found,) = [p for name, p in members(tmp_path / "tar").items() if name.startswith("x_y~")]
    assert found["txt"].decode() == masked
    assert json.loads(found["json"])["captions"] == {"de": masked}
    assert told(tmp_path / "tar")["masked"] == "true"
    export(corpus, tmp_path / "table", Options("parquet", mask=True))
    texts = pq.read_table(tmp_path / "table" / "samples.parquet")["text"].to_pylist()
    assert masked in texts
    assert CONTACT not in texts


def test_shards_are_closed_by_their_bytes_too(corpus: Workspace, tmp_path: Path) -> None:
    expected = kept(corpus)
    export(corpus, tmp_path / "out", Options("parquet", shard_bytes=1700))
    shards = [pq.read_table(p) for p in sorted((tmp_path / "out").rglob("*/*.parquet"))]
    assert pa.concat_tables(shards)["id"].to_pylist() == expected["id"].to_pylist()
    assert len(shards) > 3
    for shard in shards:
        media = [pc.sum(shard[c]).as_py() or 0 for c in ("image_bytes", "audio_bytes")]
        assert sum(media) <= 1700 or shard.num_rows == 1


def test_an_export_of_other_decisions_is_refused(corpus: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(corpus, out, Options("webdataset", shard_samples=10))
    config = corpus.config.model_copy(
        update={"policy": Policy.model_validate({"image_width": {"min": 10}})}
    )
    stricter = replace(corpus, config=config)
    try:
        decide(StageContext(stricter))
        with pytest.raises(InputError, match=r"other decisions.*--overwrite"):
            export(stricter, out, Options("webdataset", shard_samples=10))
        assert len(list(out.glob("*.tar"))) == 6
        done = export(stricter, out, Options("lance"), overwrite=True)
        assert sorted(p.name for p in out.iterdir()) == ["isotrope.json", "samples.lance"]
        assert done.samples == lance.dataset(out / "samples.lance").count_rows()
    finally:
        decide(StageContext(corpus))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("not to be lost")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"diary\.txt"):
            export(corpus, mine, Options("parquet"), overwrite)
    with pytest.raises(InputError, match="in the source 'here'"):
        export(corpus, corpus.root / "drops" / "out", Options("parquet"))
    with pytest.raises(InputError, match="no format"):
        Options("zip")


def test_a_shard_that_lost_a_sample_is_no_success(
    corpus: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.export.stage import parquet

    monkeypatch.setattr(parquet, "count", lambda path: pq.read_metadata(path).num_rows - 1)
    with pytest.raises((ConservationError, RuntimeError), match="samples are there"):
        export(corpus, tmp_path, Options("parquet"))
    assert not (tmp_path / "isotrope.json").exists()
    monkeypatch.undo()
    export(corpus, tmp_path, Options("parquet"))
    (tmp_path / "samples.parquet" / "000000.parquet").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"not as isotrope\.json says"):
        export(corpus, tmp_path, Options("parquet"))


@settings(max_examples=15)
@given(st.lists(st.text(st.sampled_from("ab./~-_ж \\'"), max_size=90), min_size=1, max_size=40))
def test_names_are_unique_for_any_keys(keys: list[str]) -> None:
    rows = [{"drop": "d", "id": f"{n:032x}", "key": k, "source": "s"} for n, k in enumerate(keys)]
    decided = [{**row, "keep": n % 5 > 0, "policy": ""} for n, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(folder)
        for name, columns, listed in (
            ("samples", schema.SAMPLES, rows),
            ("decisions", schema.DECISIONS, decided),
        ):
            batch = pa.RecordBatch.from_pylist(listed, schema=columns)
            tables.replace(name, columns, [batch], None)
        versions = {name: tables.version(name) for name in ("samples", "decisions")}
        lists = Path(folder, "lists")
        sizes = lay_out(tables, versions, lists, most_samples=7, most_bytes=1 << 20)
        names = [
            n for k in range(len(sizes)) for n in read_table(place(lists, k))["name"].to_pylist()
        ]
    wanted = [row["key"] for row in sorted(rows, key=lambda r: r["key"]) if int(row["id"], 16) % 5]
    assert sum(sizes) == len(names) == len(set(names)) == len(wanted)
    assert all(size == 7 for size in sizes[:-1])
    for name, key in zip(names, wanted, strict=True):
        assert re.fullmatch(r"([A-Za-z0-9_-]+/)*[A-Za-z0-9_~-]+", name)
        assert name == key or "~" in name


def test_the_command_and_the_job_write_it(
    corpus: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["export", str(tmp_path / "one"), "--to", "webdataset", "--corpus", str(corpus.root)]
    said = CliRunner().invoke(main, command)
    assert said.exit_code == 0, said.output
    assert f"{kept(corpus).num_rows} samples in 1 shards" in said.output
    monkeypatch.setenv(VARIABLE, str(corpus.root))
    config = {"ops": {"write": {"config": {"folder": str(tmp_path / "two")}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("export")
        assert job.execute_in_process(run_config=config, instance=instance).success
    assert files(tmp_path / "one") == files(tmp_path / "two")
    refused = CliRunner().invoke(main, [*command, "--mask"])
    assert refused.exit_code == 1
    assert "--overwrite" in refused.output


@pytest.mark.parametrize("to", ["webdataset", pytest.param("lance", marks=pytest.mark.slow)])
def test_a_killed_export_goes_on(corpus: Workspace, tmp_path: Path, to: str) -> None:
    options = Options(to, shard_samples=2)
    export(corpus, tmp_path / "undisturbed", options)
    out = tmp_path / "killed"
    command = [
        "-m",
        "orchestration.cli.main",
        "export",
        str(out),
        "--to",
        to,
        "--shard-samples",
        "2",
    ]
    process = subprocess.Popen(
        [sys.executable, *command, "--corpus", str(corpus.root)], start_new_session=True
    )
    pattern = "*.tar" if to == "webdataset" else "samples.lance/data/*.lance"
    while len(list(out.glob(pattern))) < 5:
        assert process.poll() is None, "it was faster than its murderer"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "isotrope.json").exists()
    before = {p.name: p.stat().st_mtime_ns for p in out.glob(pattern)}
    assert 5 <= len(before) < kept(corpus).num_rows // 2
    with pytest.raises(InputError, match="other decisions"):
        export(corpus, out, Options(to, shard_samples=3))
    export(corpus, out, options)
    assert not (out / STATE).exists()
    after = {p.name: p.stat().st_mtime_ns for p in out.glob(pattern)}
    stayed = [name for name, at in before.items() if after.get(name) == at]
    assert len(stayed) >= 3  # those whose record was written
    if to == "webdataset":
        assert files(out) == files(tmp_path / "undisturbed")
    else:
        one, two = (lance.dataset(f / "samples.lance") for f in (out, tmp_path / "undisturbed"))
        assert one.to_table().equals(two.to_table())
        assert len(after) == len(list((tmp_path / "undisturbed").glob(pattern)))
