"""A whole corpus that a backup moves to an object store: search, backup and takedown there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from assets.corpus_check import check_corpus
from orchestration.cli.main import main
from pipelines.stages import staleness
from pipelines.takedown import takedown
from pipelines.takedown.selection import Selection
from store.arrow import as_matrix
from store.search.corpus import Corpus
from store.tables.files import Files
from store.tables.restore import restore
from store.tables.table_files import manifest_of
from store.workspace import Workspace
from tests.helpers.stages import make_stale_stages
from tests.helpers.stores import S3Server

pytestmark = pytest.mark.slow
KEY = "blue-0127"


def isotrope(*words: str) -> None:
    said = CliRunner().invoke(main, words)
    assert said.exit_code == 0, said.output


def content(corpus: Workspace) -> dict[str, list[str]]:
    tables = corpus.tables
    return {n: sorted(map(repr, tables.open(n).to_table().to_pylist())) for n in tables.names()}


def hits(corpus: Workspace, vector: np.ndarray) -> list[tuple[str, float]]:
    found = Corpus(corpus.tables).search(vectors={"text": vector}).among("image").limit(1000)
    return [(hit["id"], round(hit["_score"], 5)) for hit in found.to_list()]


def failures(corpus: Workspace) -> list:
    return [f for f in check_corpus(corpus, deep=True) if not f.passed]


@pytest.fixture
def moved(squares_with_checksums: Workspace, tmp_path: Path, s3: S3Server) -> Workspace:
    """The shared corpus with its tables on the S3 server, moved by the commands."""
    local = squares_with_checksums
    isotrope("backup", str(tmp_path / "backup"), "--corpus", str(local.root))
    root = tmp_path / "moved"
    shutil.copytree(local.root, root, ignore=shutil.ignore_patterns("tables"))
    config = yaml.safe_load((root / "corpus.yaml").read_text())
    config["tables"] = {"path": s3.folder(), "options": s3.options()}
    (root / "corpus.yaml").write_text(yaml.safe_dump(config))
    isotrope("restore", str(tmp_path / "backup"), "--corpus", str(root))
    corpus = Workspace.open(root)
    assert content(corpus) == content(local)
    vector = np.eye(16, dtype=np.float32)[0]
    assert hits(corpus, vector) == hits(local, vector)
    return corpus


def test_a_backup_within_the_store_restores_lost_tables(moved: Workspace) -> None:
    before = content(moved)
    assert failures(moved) == []
    target = f"{moved.tables.root}-backup"
    isotrope("backup", target, "--corpus", str(moved.root))
    moved.tables.files.delete_folder("")
    assert list(moved.tables.files.list()) == []
    isotrope("restore", target, "--corpus", str(moved.root))
    corpus = Workspace.open(moved.root)
    assert content(corpus) == before
    assert failures(corpus) == []


def test_damage_in_the_store_is_found_and_repaired(moved: Workspace) -> None:
    tables, before = moved.tables, content(moved)
    vector = np.eye(16, dtype=np.float32)[0]
    found = hits(moved, vector)
    manifest = f"decisions.lance/{manifest_of(tables.version('decisions'))}"
    tables.files.delete([manifest])
    (data, *_) = tables.files.list("pairs__colours.lance/data")
    content_of_file = tables.files.read(data.path)
    tables.files.write(data.path, content_of_file[:-40])
    tables.files.delete_folder("banks__colours.lance")
    damaged = {finding.table for finding in failures(moved) if finding.check == "files"}
    assert damaged == {"banks__colours", "decisions", "pairs__colours"}

    isotrope("repair", "--corpus", str(moved.root), "--yes")  # the release is lost with its banks
    stale = ["pairs", "decisions", "banks", "release"]
    assert [stage for stage in staleness.stale(moved, None) if stage in stale] == stale
    make_stale_stages(moved)
    assert failures(moved) == []
    assert hits(moved, vector) == found
    assert content(moved)["decisions"] == before["decisions"]
    assert content(moved)["pairs__colours"] == before["pairs__colours"]


def test_a_takedown_leaves_no_byte_in_the_store(moved: Workspace) -> None:
    """Of the samples, the vectors, the galleries and the releases that are kept."""
    (row,) = moved.tables.open("samples").to_table(filter=f"key = '{KEY}'").to_pylist()
    stored = moved.tables.open("vectors__colours").to_table(filter=f"part_id = '{row['text_id']}'")
    vector = as_matrix(stored["vector"])[0]
    needles = [KEY.encode(), row["text"].encode(), row["image"], vector.tobytes()]
    before = hits(moved, vector)
    assert row["id"] in dict(before)

    takedown.take_down(moved, Selection(keys=frozenset([KEY])))

    contents = {file.path: moved.tables.files.read(file.path) for file in moved.tables.files.list()}
    assert [p for p, data in contents.items() if any(n in data for n in needles)] == []
    assert hits(moved, vector) == [hit for hit in before if hit[0] != row["id"]]
    assert failures(moved) == []


def test_tables_in_a_store_are_restored_to_a_folder(moved: Workspace, tmp_path: Path) -> None:
    target = f"{moved.tables.root}-backup"
    isotrope("backup", target, "--corpus", str(moved.root))
    tables = type(moved.tables)(tmp_path / "again")
    restore(Files(target, moved.tables.files.options), tables)
    assert content(Workspace(moved.root, moved.config, tables)) == content(moved)
