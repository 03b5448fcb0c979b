"""A corpus that is listed by several hash ranges gets the tables of one that is listed at once.

So does one that is listed by the tasks of a Ray cluster.
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.export.shard_lists import read_shard_list, write_shard_lists
from store.workspace import Workspace
from tests.helpers.hash_ranges import on_ray, small_ranges
from tests.helpers.served import stored_corpus
from tests.helpers.stages import make_stale_stages

_MORE = {
    "duplicates": {"text": 0.7, "image": 31, "parts": "every"},
    "policy": {
        "image_min_side": {"min": 16},
        "text_image_rank": {"max": 0.9},
        "image_brightness": {"keep_top": 0.9},
    },
}
_WITHOUT = {"created", "made", "seconds"}


def make(folder: Path) -> dict[str, list[str]]:
    """The rows of all tables, after a first drop and after a second one with half of its files."""
    stored_corpus(folder)
    shutil.rmtree(folder / "tables")
    config = yaml.safe_load((folder / "corpus.yaml").read_text("utf-8"))
    (folder / "corpus.yaml").write_text(yaml.safe_dump(config | _MORE), "utf-8")
    make_stale_stages(Workspace.open(folder))
    first = folder / "drops" / "first"
    again = folder / "drops" / "again"
    again.mkdir()
    for file in sorted(first.iterdir())[:30]:
        shutil.copy(file, again)
    workspace = Workspace.open(folder)
    make_stale_stages(workspace)
    return {name: rows(workspace, name) for name in TABLES} | {"exported": exported(workspace)}


TABLES = (
    "samples", "signals", "vectors__colours", "pairs__colours", "duplicates", "decisions",
    "banks__colours", "gallery__colours__image", "gallery__colours__text",
)  # fmt: skip


def exported(workspace: Workspace) -> list[str]:
    """The names and sizes of samples, shard by shard."""
    tables = workspace.tables
    versions = {n: tables.version(n) for n in ("samples", "decisions", "signals")}
    sizes = write_shard_lists(
        tables,
        versions,
        tables.files,
        workspace.root / "scratch",
        workspace.config.engine,
        max_samples=7,
        max_bytes=1 << 20,
    )
    lists = {number: read_shard_list(tables.files, number) for number in range(len(sizes))}
    return [
        f"{number} {row}"
        for number, rows in lists.items()
        for row in rows.select(["name", "bytes"]).to_pylist()
    ]


def rows(workspace: Workspace, name: str) -> list[str]:
    table: list[dict[str, Any]] = workspace.tables.open(name).to_table().to_pylist()
    return sorted(str({k: v for k, v in row.items() if k not in _WITHOUT}) for row in table)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    tables = make(tmp_path_factory.mktemp("at-once"))
    assert all(len(rows) > 10 for rows in tables.values())
    return tables


@pytest.mark.parametrize("listed", [small_ranges, pytest.param(on_ray, marks=pytest.mark.slow)])
def test_tables_are_the_same(
    at_once: dict[str, list[str]],
    tmp_path: Path,
    ray_cluster: None,
    listed: Callable[[], AbstractContextManager[None]],
) -> None:
    with listed():
        by_ranges = make(tmp_path)
    for name, rows_at_once in at_once.items():
        assert by_ranges[name] == rows_at_once, name
