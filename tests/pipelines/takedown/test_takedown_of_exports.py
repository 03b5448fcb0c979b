"""Takedowns of a corpus with exports, in a local folder and in an object store."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from assets.corpus_check import check_corpus
from pipelines.export.stage import Options, export
from pipelines.export.target_folder import SUMMARY
from pipelines.takedown import takedown
from pipelines.takedown.selection import Selection
from store.tables import takedowns
from store.tables.files import Files
from store.workspace import Workspace
from tests.helpers.exports import CONFIG, write_corpus
from tests.helpers.stages import curate
from tests.helpers.stores import S3Server

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
KEY = "plain/key-1"
_TAKE_DOWN = f"""
import sys
from pipelines.takedown import takedown
from pipelines.takedown.selection import Selection
from store.workspace import Workspace
workspace = Workspace.open(sys.argv[1])
print("ready", flush=True)
takedown.resume(workspace) or takedown.take_down(workspace, Selection(keys=frozenset([{KEY!r}])))
"""


@pytest.fixture(params=["local", "s3"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> Workspace:
    """A corpus with decisions, with its tables in a folder or in an object store."""
    root = tmp_path / "corpus"
    root.mkdir()
    write_corpus(root)
    if request.param == "s3":
        tables = {"path": s3.folder(), "options": s3.options()}
        config = yaml.safe_load(CONFIG) | {"tables": tables}
        (root / "corpus.yaml").write_text(yaml.safe_dump(config))
    return curate(root)


def target(corpus: Workspace, name: str) -> Files:
    """A folder for an export, in the store of the tables."""
    tables = corpus.tables
    folder = str(corpus.root.parent / name) if tables.is_local else f"{tables.root}-{name}"
    return Files(folder, tables.files.options)


def needles(corpus: Workspace) -> dict[str, bytes]:
    """What must not be found afterwards. Receipts have the id."""
    (row,) = corpus.tables.open("samples").to_table(filter=f"key = '{KEY}'").to_pylist()
    return {"key": row["key"].encode(), "id": row["id"].encode(), "image": row["image"]}


def holders(files: Files, values: Iterable[bytes]) -> set[str]:
    """The files that hold one of the byte strings."""
    contents = ((file.path, files.read(file.path)) for file in files.list())
    return {path for path, data in contents if any(value in data for value in values)}


def test_shards_of_exports_that_hold_the_sample_are_removed(corpus: Workspace) -> None:
    exports = {name: target(corpus, name) for name in ("webdataset", "parquet", "lance")}
    for name, files in exports.items():
        export(corpus, files.root, Options(name, shard_samples=20))
    values = needles(corpus)
    before = {name: {f.path: f.tag for f in files.list()} for name, files in exports.items()}
    holding = {name: holders(files, [values["image"]]) for name, files in exports.items()}
    assert all(len(paths) == 1 for paths in holding.values())

    receipt = takedown.take_down(corpus, Selection(keys=frozenset([KEY])))

    assert holders(corpus.tables.files, [values["key"], values["image"]]) == set()
    for name, files in exports.items():
        assert holders(files, values.values()) == set()
        left = {f.path: f.tag for f in files.list()}
        removed = before[name].keys() - left.keys()
        assert holding[name] <= removed
        summary = json.loads(files.read(SUMMARY))
        count = receipt.exports[files.root]
        assert summary["taken_down"] == {receipt.started_at: count}
        assert count == (1 if name != "lance" else 3)
        if name != "lance":
            assert removed == holding[name]
            kept = left.keys() - {SUMMARY}
            assert all(left[path] == before[name][path] for path in kept)
            assert {shard["name"] for shard in summary["shards"]} == kept
        assert f"{count} shards of the export in {files.root} were removed" in receipt.text()

    curate(corpus.root)
    for name, files in exports.items():
        result = export(corpus, files.root, Options(name, shard_samples=20))
        assert result.samples == 57
        assert holders(files, values.values()) == set()
        assert "taken_down" not in json.loads(files.read(SUMMARY))


def test_an_unfinished_export_is_removed(
    corpus: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = target(corpus, "unfinished")
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.export.stage.target.write_summary", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(corpus, files.root, Options("webdataset"))
    values = needles(corpus)
    assert holders(files, [values["image"]])
    receipt = takedown.take_down(corpus, Selection(keys=frozenset([KEY])))
    assert receipt.exports == {files.root: 1}
    assert list(files.list()) == []


def is_finished(corpus: Workspace) -> bool:
    """A receipt is written and no plan is left."""
    paths = {file.path for file in corpus.tables.files.list(takedowns.FOLDER)}
    return takedowns.PLAN not in paths and any(path.endswith(".json") for path in paths)


@pytest.mark.timeout(600)
def test_a_takedown_that_is_killed_is_finished_by_the_next_one(corpus: Workspace) -> None:
    """SIGKILL at random moments of real processes, until the takedown is finished."""
    files = target(corpus, "tars")
    export(corpus, files.root, Options("webdataset", shard_samples=20))
    values = needles(corpus)
    chance, kills = random.Random(3), 0
    while not is_finished(corpus):
        process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_DOWN, str(corpus.root)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 0.2 * 1.5**kills))
        process.send_signal(signal.SIGKILL)
        # A process that is killed after its takedown has nothing left to do in the next round.
        assert process.wait() in (0, -signal.SIGKILL)
        kills += 1
    assert kills > 1
    assert not corpus.tables.files.exists(takedowns.PLAN)
    assert holders(files, values.values()) == set()
    assert holders(corpus.tables.files, [values["key"], values["image"]]) == set()
    assert [f for f in check_corpus(corpus, deep=True) if not f.passed] == []
