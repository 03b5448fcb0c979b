"""Drops are listed and removed, and vectors that no sample needs are deleted."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from orchestration.cli.main import main
from pipelines.removal.drops import DropState, list_drops, lost_drops, remove_drop
from pipelines.removal.rename import rename_drop
from pipelines.removal.unreferenced import delete_unreferenced
from pipelines.stages import staleness
from store.errors import InputError, NotFoundError, SourceError
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.corpus import DIM, deliver, write_config
from tests.helpers.stages import curate


@pytest.fixture
def corpus(tmp_path: Path) -> Workspace:
    """Two drops with samples, signals, duplicates and decisions."""
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "first", 12)
    deliver(tmp_path / "drops" / "second", 8, first=8)
    return curate(tmp_path)


def lose(workspace: Workspace, drop: str) -> None:
    (workspace.root / "drops" / drop).rename(workspace.root / drop)


def rows(workspace: Workspace, table: str) -> list[str]:
    return sorted(map(repr, workspace.tables.open(table).to_table().to_pylist()))


def test_a_removed_drop_leaves_the_tables_as_if_it_had_never_come(
    corpus: Workspace, tmp_path: Path
) -> None:
    assert list_drops(corpus) == [DropState("first", 12, True), DropState("second", 8, True)]
    with pytest.raises(InputError, match="still delivers"):
        remove_drop(corpus, "second")
    lose(corpus, "second")
    assert lost_drops(corpus) == ["second"]
    assert remove_drop(corpus, "second") == 8
    assert list_drops(corpus) == [DropState("first", 12, True)]
    with pytest.raises(NotFoundError, match="no drop 'second'"):
        remove_drop(corpus, "second")
    assert {"duplicates", "decisions"} <= set(staleness.stale(corpus, None))
    curate(corpus.root)
    alone = tmp_path / "alone"
    alone.mkdir()
    write_config(alone)
    deliver(alone / "drops" / "first", 12)
    expected = curate(alone)
    for table in ("samples", "signals", "duplicates", "decisions"):
        assert rows(corpus, table) == rows(expected, table), table


def test_a_source_that_is_not_mounted_loses_no_drop(corpus: Workspace) -> None:
    (corpus.root / "drops").rename(corpus.root / "elsewhere")
    with pytest.raises(SourceError):
        lost_drops(corpus)


@pytest.mark.parametrize("policy", ["keep", "ask", "remove"])
def test_a_run_does_with_lost_drops_as_corpus_yaml_says(corpus: Workspace, policy: str) -> None:
    path = corpus.root / "corpus.yaml"
    path.write_text(f"lost_drops: {policy}\n{path.read_text()}")
    lose(corpus, "second")
    arguments = ["run", "--corpus", str(corpus.root), "--select", "samples"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert ("isotrope drop remove second" in result.output) == (policy == "ask")
    assert ("removed 8 samples" in result.output) == (policy == "remove")
    names = [drop.name for drop in list_drops(corpus)]
    assert names == (["first"] if policy == "remove" else ["first", "second"])


def test_the_commands_list_and_remove(corpus: Workspace) -> None:
    lose(corpus, "second")
    listed = CliRunner().invoke(main, ["drop", "list", "--corpus", str(corpus.root)])
    assert "no longer delivered" in listed.output
    removed = CliRunner().invoke(
        main, ["drop", "remove", "second", "--yes", "--corpus", str(corpus.root)]
    )
    assert removed.exit_code == 0, removed.output
    assert lost_drops(corpus) == []


def test_a_renamed_drop_is_not_read_again(corpus: Workspace, tmp_path: Path) -> None:
    """All tables are as if the drop had come under its new name, but nothing is measured again."""
    drops = corpus.root / "drops"
    with pytest.raises(InputError, match="still delivers"):
        rename_drop(corpus, "second", "first")
    (drops / "second").rename(drops / "early")
    with pytest.raises(NotFoundError, match="no source delivers a drop 'late'"):
        rename_drop(corpus, "second", "late")
    arguments = ["drop", "rename", "second", "early", "--corpus", str(corpus.root)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "renamed the drop 'second' to 'early': 8 samples" in result.output
    assert list_drops(corpus) == [DropState("early", 8, True), DropState("first", 12, True)]
    early = staleness.drops(corpus)["early"]
    assert not {"samples", "signals"} & set(staleness.stale(corpus, early))
    curate(corpus.root)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    write_config(fresh)
    shutil.copytree(drops, fresh / "drops")
    expected = curate(fresh)
    for table in ("samples", "signals", "ledger", "duplicates", "decisions"):
        assert rows(corpus, table) == rows(expected, table), table


def test_only_a_drop_of_the_same_files_is_renamed(corpus: Workspace) -> None:
    drops = corpus.root / "drops"
    (drops / "second").rename(drops / "early")
    next((drops / "early").glob("*.txt")).write_text("another caption")
    with pytest.raises(InputError, match="not those that were read as 'second'"):
        rename_drop(corpus, "second", "early")
    assert "second" in [drop.name for drop in list_drops(corpus)]


def test_vectors_of_parts_without_samples_are_deleted(corpus: Workspace) -> None:
    tables, columns = corpus.tables, schema.vectors(DIM)
    samples = tables.open("samples").to_table()
    parts = {*samples["image_id"].to_pylist(), *samples["text_id"].to_pylist()}
    values = [
        {"part_id": p, "modality": "text", "encoder": "e@1", "vector": np.ones(DIM, np.float32)}
        for p in (*parts, "of nothing", "nor this")
    ]
    batch = pa.RecordBatch.from_pylist(values, schema=columns)
    tables.replace("vectors__colours", columns, [batch], None)
    assert delete_unreferenced(corpus) == {"vectors__colours": 2}
    stored = tables.open("vectors__colours").to_table(columns=["part_id"])
    assert set(stored["part_id"].to_pylist()) == parts
    assert delete_unreferenced(corpus) == {}
