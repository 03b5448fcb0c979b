"""The lists of parts, with their samples and drops: as made by Python's dictionaries."""

from pathlib import Path

from benchmarks.lists import ENCODER, add
from pipelines.decisions.kept_samples import kept_samples
from pipelines.gallery.parts import GalleryParts
from store.tables.table_version import TableVersion
from store.workspace import Workspace


def test_parts_have_all_of_their_samples_and_drops(tmp_path: Path) -> None:
    (tmp_path / "corpus.yaml").write_text("sources: {s: {path: drops}}\n")
    workspace = Workspace.open(tmp_path)
    add(workspace, 0, 100, "b")  # one image in ten has two captions
    add(workspace, 0, 30, "a")  # some samples are in both drops
    tables = workspace.tables
    samples = tables.open("samples").to_table(columns=["drop", "key", "id", "image_id"])
    expected: dict[str, tuple[list[str], list[str]]] = {}
    for row in sorted(samples.to_pylist(), key=lambda r: (r["drop"], r["key"], r["id"])):
        ids, drops = expected.setdefault(row["image_id"], ([], []))
        ids.append(row["id"])
        drops.append(row["drop"])
    vectors = TableVersion(tables, "vectors__local", tables.version("vectors__local"))
    with kept_samples(workspace, tmp_path / "scratch") as kept:
        parts = GalleryParts(kept, vectors, "image", ENCODER)
        rows = kept.table("SELECT DISTINCT part_id, id, sample_ids, drops FROM parts_image")
    assert len(rows) == len(expected)
    assert parts.kept == len(expected)
    assert {len(ids) for ids, _ in expected.values()} == {1, 2, 4}
    for row in rows.to_pylist():
        ids, drops = expected[row["part_id"]]
        assert row["id"] == ids[0]
        assert row["sample_ids"] == ids
        assert row["drops"] == sorted(set(drops))
