"""Remote sources, on an S3 server and in fsspec's memory: the same records as from a folder."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from pipelines.samples.stage import ingest
from pipelines.sources.drops import find_drops, listing_hash
from pipelines.sources.records import BadRecord
from pipelines.sources.units import list_units
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.errors import SourceError
from store.workspace import Workspace
from tests.helpers.rubbish import (
    bad_rules,
    gzipped,
    picture,
    read_folder,
    read_items,
    tar_bytes,
    tone,
)

PICTURE = picture()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a bucket on an S3 server that runs in this process."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("sources")  # servers of one process share their buckets
        yield "s3://sources"
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def remote(request: pytest.FixtureRequest) -> str:
    """The URL of a new, empty remote folder."""
    folder = uuid.uuid4().hex
    if request.param == "memory":
        return f"memory://{folder}"
    return f"{request.getfixturevalue('s3')}/{folder}"


def write_source(folder: Path) -> None:
    """Write a source with a drop of each kind."""
    (folder / "loose").mkdir(parents=True)
    (folder / "loose" / "a.png").write_bytes(PICTURE)
    (folder / "loose" / "a.txt").write_text("A.")
    (folder / "loose" / ".hidden.png").write_bytes(PICTURE)
    (folder / "loose" / "broken.md").write_text("nothing")
    shard = tar_bytes([("b.png", PICTURE), ("b.wav", tone()), ("c.txt", b"C.")])
    (folder / "plain.tar").write_bytes(shard)
    (folder / "packed.tar.gz").write_bytes(gzipped(shard)[:-30])
    (folder / "lines.jsonl").write_bytes(
        b'{"key": "d", "path": "loose/a.png"}\n{"path": "../a.png"}\n{"path": "loose/gone.png"}\n'
    )
    pq.write_table(pa.table({"key": ["e"], "jpg": [PICTURE]}), folder / "rows.parquet")


def upload(folder: Path, url: str) -> None:
    """Copy a local folder to a remote one."""
    fs, base = fsspec.core.url_to_fs(url)
    for path in folder.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{base}/{path.relative_to(folder)}", path.read_bytes())


def test_a_remote_source_is_read_like_a_local_one(tmp_path: Path, remote: str) -> None:
    write_source(tmp_path)
    upload(tmp_path, remote)
    local_drops, remote_drops = (find_drops("s", root) for root in (str(tmp_path), remote))
    assert list(local_drops) == list(remote_drops)
    for name in local_drops:
        local_items, remote_items = (
            [item for unit in list_units(d[name]) for item in read_items(unit)]
            for d in (local_drops, remote_drops)
        )
        assert bad_rules(local_items) == bad_rules(remote_items)
        assert [r for r in local_items if not isinstance(r, BadRecord)] == [
            r for r in remote_items if not isinstance(r, BadRecord)
        ]
    as_one = list(find_drops("s", remote, "source").values())
    assert len(as_one) == 1
    assert sum(len(read_items(unit)) for unit in list_units(as_one[0])) >= 9


def test_the_listing_hash_of_a_remote_drop_changes_with_its_files(remote: str) -> None:
    fs, base = fsspec.core.url_to_fs(remote)
    fs.pipe_file(f"{base}/d/a.png", PICTURE)
    drop = find_drops("s", remote)["d"]
    before = listing_hash(drop)
    assert listing_hash(drop) == before
    fs.pipe_file(f"{base}/d/a.png", PICTURE[:-1] + b"x")
    assert listing_hash(drop) != before
    fs.pipe_file(f"{base}/d/b.png", PICTURE)
    assert len({before, listing_hash(drop)}) == 2


def test_a_missing_remote_folder_is_refused(remote: str) -> None:
    with pytest.raises(SourceError, match="not a folder"):
        find_drops("s", f"{remote}/missing")


def test_a_protocol_that_is_not_installed_is_named() -> None:
    for url, message in (("gs://bucket/x", "gcsfs"), ("nonsense://x", "protocol")):
        with pytest.raises(SourceError, match=message):
            find_drops("s", url)


def test_a_drop_in_a_bucket_is_ingested(tmp_path: Path, s3: str) -> None:
    """It holds a tar, Parquet with paths, and a Lance dataset, which Lance itself reads from S3."""
    url = f"{s3}/{uuid.uuid4().hex}"
    write_source(tmp_path / "data")
    upload(tmp_path / "data", url)
    lance.write_dataset(pa.table({"id": ["f"], "image": [picture(seed=3)]}), f"{url}/table.lance")
    (tmp_path / "corpus.yaml").write_text(
        f"sources:\n  bucket: {{path: '{url}', drop_by: source}}\nengine: {{signals: beam}}\n"
    )
    workspace = Workspace.open(tmp_path)
    (drop,) = staleness.drops(workspace).values()
    counts = ingest(StageContext(workspace, drop))
    rows = workspace.tables.open("samples").to_table(columns=["key", "image"]).to_pylist()
    assert {"b", "c", "f", "loose/a"} <= {r["key"] for r in rows}
    assert next(r["image"] for r in rows if r["key"] == "f") == picture(seed=3)
    assert counts.input == counts.kept + counts.rejected + counts.failed
    assert staleness.stale(workspace, drop)[0] == "signals"
    assert os.listdir(tmp_path / "tables")


def test_file_urls_are_folders(tmp_path: Path) -> None:
    write_source(tmp_path / "data")
    (tmp_path / "corpus.yaml").write_text(f"sources:\n  s: {{path: 'file://{tmp_path}/data'}}\n")
    workspace = Workspace.open(tmp_path)
    assert set(staleness.drops(workspace)) == {"loose", "plain", "packed", "lines", "rows"}
    assert len(read_folder(tmp_path / "data" / "loose")) == 2
