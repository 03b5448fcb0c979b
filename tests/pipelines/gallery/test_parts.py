"""The lists of parts and pairs: as made by Python's dictionaries, also by several hash ranges."""

from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.lists import ENCODER, add
from pipelines.banks.stage import _add_pairs
from pipelines.decisions.kept_samples import kept_samples
from pipelines.gallery.parts import GalleryParts
from store.tables.table_version import TableVersion
from store.workspace import Workspace
from tests.helpers.hash_ranges import small_ranges


def corpus(root: Path) -> Workspace:
    (root / "corpus.yaml").write_text("sources: {s: {path: drops}}\n")
    workspace = Workspace.open(root)
    add(workspace, 0, 100, "b")  # one image in ten has two captions
    return workspace


@pytest.mark.parametrize("several_ranges", [False, True])
def test_parts_have_all_of_their_samples_and_drops(tmp_path: Path, several_ranges: bool) -> None:
    workspace = corpus(tmp_path)
    add(workspace, 0, 30, "a")  # some samples are in both drops
    tables = workspace.tables
    samples = tables.open("samples").to_table(columns=["drop", "key", "id", "image_id"])
    expected: dict[str, tuple[list[str], list[str]]] = {}
    for row in sorted(samples.to_pylist(), key=lambda r: (r["drop"], r["key"], r["id"])):
        ids, drops = expected.setdefault(row["image_id"], ([], []))
        ids.append(row["id"])
        drops.append(row["drop"])
    with small_ranges(several_ranges), kept_samples(workspace, tmp_path / "scratch") as kept:
        parts = GalleryParts(kept, _vectors(workspace), "image", ENCODER)
        rows = kept.scratch.select("FROM parts_image", "parts_image")
    assert set(rows["part_id"].to_pylist()) == expected.keys()
    assert parts.kept == len(expected)
    assert {len(ids) for ids, _ in expected.values()} == {1, 2, 4}
    for row in rows.to_pylist():
        ids, drops = expected[row["part_id"]]
        assert row["id"] == ids[0]
        assert (row["sample_ids"] or [row["id"]]) == ids
        assert (row["drops"] or [row["drop"]]) == sorted(set(drops))


def test_lists_by_ranges_are_those_made_at_once(tmp_path: Path) -> None:
    workspace = corpus(tmp_path)

    def lists(several_ranges: bool) -> list[pa.Table]:
        with small_ranges(several_ranges), kept_samples(workspace, tmp_path / "scratch") as kept:
            vectors = _vectors(workspace)
            _add_pairs(kept, vectors, {"image": ENCODER, "text": ENCODER})
            parts = GalleryParts(kept, vectors, "text", ENCODER)
            clusters = kept.scratch.select(
                "SELECT DISTINCT cluster FROM kept ORDER BY ALL LIMIT 20", "kept"
            )
            _, drawn = parts.sample(clusters["cluster"], 30, seed=0)
            assert parts.compare(None, None, set()) == (parts.count, 0, 0)
            tiles = pa.concat_tables(parts.tiles(workspace.tables, 32, only_changed=False))
            return [kept.scratch.select("FROM pairs ORDER BY ALL", "pairs"), drawn, tiles]

    at_once, by_ranges = lists(False), lists(True)
    assert all(table.num_rows > 30 for table in at_once)
    assert at_once == by_ranges


def _vectors(workspace: Workspace) -> TableVersion:
    return TableVersion(
        workspace.tables, "vectors__local", workspace.tables.version("vectors__local")
    )
