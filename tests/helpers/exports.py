"""A corpus to export, and functions that read what an export wrote."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from store.tables import schema
from store.workspace import Workspace
from tests.helpers.corpus import picture
from tests.helpers.trio import deliver

CONFIG = """\
sources:
  deliveries: {path: drops}
policy:
  text_chars: {max: 70}
engine: {signals: beam}
"""
KEYS = ["t00-0000", "a dir/ж", "x~y", "dup/k", "k" * 300, "plain/key-1"]
OUTSIDE = ["../../etc/x", "/root"]  # keys that only a manifest may have: tars refuse them
CONTACT = "ask me@example.org or +49 30 1234567, see https://example.org"


def write_tar(path: Path, keys: list[str], first: int = 0) -> None:
    """Write samples with these keys, each with its own image, caption and metadata."""
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


def write_manifest(path: Path) -> None:
    """Write a Parquet file whose keys are paths outside of any folder."""
    rows = {
        "key": OUTSIDE,
        "image": [picture((n, 0, 90), n + 2000) for n in range(len(OUTSIDE))],
        "text": [f"\ufeff\ufeffrow {n}" for n in range(len(OUTSIDE))],
        "number": list(range(len(OUTSIDE))),
    }
    pq.write_table(pa.table(rows), path)


def write_corpus(root: Path) -> None:
    """Write corpus.yaml and four drops: loose files, two tars and a manifest."""
    (root / "corpus.yaml").write_text(CONFIG)
    deliver(root / "drops" / "first", range(48))
    (root / "drops" / "first" / "long.txt").write_text("too long " * 20)
    (root / "drops" / "first" / "only.json").write_text('{"caption": "in the JSON alone"}')
    write_tar(root / "drops" / "second.tar", KEYS)
    write_tar(root / "drops" / "third.tar", ["dup/k"], first=50)
    write_manifest(root / "drops" / "fourth.parquet")


def kept_samples(corpus: Workspace) -> pa.Table:
    """The samples that the decisions keep, in the order of an export."""
    decisions = corpus.tables.scan("decisions", schema.DECISIONS, ["drop", "id"], "keep")
    kept = {(r["drop"], r["id"]) for r in decisions.to_pylist()}
    samples = corpus.tables.scan("samples", schema.SAMPLES)
    pairs = zip(samples["drop"].to_pylist(), samples["id"].to_pylist(), strict=True)
    rows = samples.filter(pa.array([pair in kept for pair in pairs]))
    return rows.sort_by([(c, "ascending") for c in ("drop", "key", "id")])


def file_contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in _paths(folder)}


def modification_times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in _paths(folder)}


def _paths(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file()]


def tar_members(folder: Path) -> dict[str, dict[str, bytes]]:
    """The bytes of all shards' members, by name and extension."""
    members: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as shard:
            for info in shard:
                name, _, extension = info.name.partition(".")
                assert extension not in members.setdefault(name, {})
                assert (info.mtime, info.uid, info.gid, info.uname) == (0, 0, 0, "")
                file = shard.extractfile(info)
                assert file is not None
                members[name][extension] = file.read()
    return members


def summary(folder: Path) -> dict:
    """The content of isotrope.json."""
    return json.loads((folder / "isotrope.json").read_text())
