"""A whole corpus in an object store: every command works there, and its tables equal local ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner

import isotrope
from orchestration.cli.main import main
from orchestration.runner import run_missing
from store.tables.files import Files
from store.workspace import Workspace
from tests.helpers.stores import S3Server
from tests.helpers.trio import CONFIG, deliver

# Beside times: versions of tables, which depend on the order of commits, and the number of units,
# because the writer of vectors commits as many results together as have arrived. Hashes of a
# table's files differ, because files have random names.
_VERSIONS = ("versions", "banks", "banks_version", "content", "banks_content")
_NOT_COMPARED = {"seconds", "resumed", "units", *_VERSIONS}


def write_corpus(root: Path, tables: Any) -> Workspace:
    root.mkdir()
    config = yaml.safe_load(CONFIG) | {"tables": tables}
    (root / "corpus.yaml").write_text(yaml.safe_dump(config))
    return Workspace.open(root)


def rows(workspace: Workspace) -> dict[str, list[str]]:
    """The rows of all tables, as sorted text, without times and Lance versions."""
    contents = {}
    for name in workspace.tables.names():
        table = workspace.tables.open(name).to_table()
        kept = [
            field.name
            for field in table.schema
            if field.name not in _NOT_COMPARED and not pa.types.is_timestamp(field.type)
        ]
        rows = table.select(kept).to_pylist()
        for row in rows:
            if "evaluation" in row:
                row["evaluation"] = without_inputs(row["evaluation"])
        contents[name] = sorted(map(str, rows))
    return contents


def without_inputs(evaluation: str) -> dict[str, dict[str, Any]]:
    """The figures of a release by direction, without the hashes of the files they are of."""
    return {
        direction: {name: value for name, value in figures.items() if name != "inputs"}
        for direction, figures in json.loads(evaluation).items()
    }


def command(*words: str, corpus: Workspace) -> str:
    """Run a command of isotrope; return what it printed."""
    completed = CliRunner().invoke(main, [*words, "--corpus", str(corpus.root)])
    assert completed.exit_code == 0, f"{words}: {completed.output}"
    return completed.output


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_whole_corpus_in_an_object_store(s3: S3Server, tmp_path: Path, ray_cluster: None) -> None:
    remote = write_corpus(tmp_path / "remote", {"path": s3.folder(), "options": s3.options()})
    local = write_corpus(tmp_path / "local", "tables")
    for drop, numbers in (("first", range(240)), ("second", range(240, 288))):
        deliver(tmp_path / "local" / "drops" / drop, numbers)
    shutil.copytree(tmp_path / "local" / "drops", tmp_path / "remote" / "drops")
    made = [(step.stage, step.drop) for step in run_missing(remote)]
    assert made == [(step.stage, step.drop) for step in run_missing(local)]
    assert rows(remote) == rows(local)
    assert run_missing(remote) == []
    assert sorted(p.name for p in remote.root.iterdir()) == [".dagster", "corpus.yaml", "drops"]

    corpus = isotrope.connect(remote.root)
    keys = [hit["key"] for hit in corpus.search(text="topic 3 number 15").limit(5).to_list()]
    expected = isotrope.connect(local.root).search(text="topic 3 number 15").limit(5).to_list()
    assert keys == [hit["key"] for hit in expected]

    assert keys[0] in command("search", "topic 3 number 15", corpus=remote)
    command("check", "--deep", corpus=remote)
    command("maintain", "--older-than", "0s", corpus=remote)
    command("check", "--deep", corpus=remote)
    command("evaluate", corpus=remote)
    out = s3.folder()
    command("report", "curation", "--out", f"{out}/pages/curation.html", corpus=remote)
    pages = sorted(file.path for file in Files(f"{out}/pages", s3.options()).list())
    assert pages == ["curation-first.html", "curation-second.html", "curation.html"]
    assert "samples in 1 shards" in command(
        "export", f"{out}/tars", "--to", "webdataset", corpus=remote
    )
    assert "samples" in command("export", f"{out}-lance", "--to", "lance", corpus=remote)
    assert rows(remote) == rows(local)
