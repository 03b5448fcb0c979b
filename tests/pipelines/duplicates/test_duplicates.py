"""Duplicates over drops: near-duplicates, contamination and survivors, in any order of arrival."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from assets.metadata import tables as metadata_tables
from assets.table_checks import duplicates_sound
from pipelines.duplicates import contamination
from pipelines.duplicates.images import copies, hamming
from pipelines.duplicates.stage import find_duplicates
from pipelines.policy.judge import gather_evidence, judge
from pipelines.stages.context import StageContext
from store.config.policy import Policy
from store.lineage import trace_record
from store.tables import schema
from store.tables.lance_tables import Tables
from store.workspace import Workspace
from tests.helpers.corpus import write_config
from tests.helpers.stages import curate

CONFIG = """\
sources:
  photos: {path: drops}
duplicates: {image: 31, audio: 0.75, text: 0.7}
decontaminate:
  - {name: held-out, path: held}
policy:
  image_min_side: {min: 100}
"""
LONG = "a wooden boat lies on the shore of the lake below the old grey castle in the evening light"
COLUMNS = ["drop", "id", "cluster", "kind", "representative", "similarity"]


def scene(number: int, side: int = 160) -> Image.Image:
    """Coloured discs: images that PDQ distinguishes."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:side, 0:side] / side
    pixels = np.zeros((side, side, 3))
    for _ in range(12):
        (cx, cy), r = rng.random(2), rng.uniform(0.05, 0.35)
        pixels[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = rng.uniform(0, 255, 3)
    return Image.fromarray(pixels.astype(np.uint8))


def deliver(folder: Path, name: str, image: Image.Image | None, text: str, **options: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if image is not None:
        out = io.BytesIO()
        image.save(out, **({"format": "JPEG"} | options))
        (folder / f"{name}.jpg").write_bytes(out.getvalue())
    (folder / f"{name}.txt").write_text(text)


def deliver_all(root: Path) -> None:
    a, b = root / "drops" / "a", root / "drops" / "b"
    for number in range(6):
        deliver(a, f"scene-{number}", scene(number), f"scene {number}")
    deliver(b, "smaller", scene(0).resize((110, 110)), "scene 0, a smaller copy of the picture")
    deliver(b, "worse", scene(1), "", quality=40)
    deliver(
        b, "tiny", scene(2).resize((90, 90)), "scene 2, in a size that the policy does not want"
    )
    deliver(b, "again", scene(3), "scene 3")
    deliver(b, "another caption", scene(4), "the same picture of scene 4")
    deliver(b, "leaked", scene(100), "nobody should train on this")
    deliver(a, "text", None, LONG)
    deliver(b, "edited", None, LONG.upper() + ", said the painter")
    deliver(b, "template", None, LONG.replace("castle", "hospital"))
    deliver(b, "quoted", None, "They wrote: one two three four five six seven eight nine ten, ok?")
    deliver(root / "held", "test-1", scene(100), "", quality=60)
    deliver(root / "held", "test-2", None, "one two three four five six seven eight, nine ten")


def duplicate_rows(workspace: Workspace) -> pa.Table:
    return workspace.tables.scan("duplicates", schema.DUPLICATES).select(COLUMNS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("photos")
    write_config(root, CONFIG)
    deliver_all(root)
    return curate(root)


def names(workspace: Workspace) -> dict[str, str]:
    rows = workspace.tables.scan("samples", schema.SAMPLES, ["id", "key", "drop"]).to_pylist()
    return {r["id"]: r["key"] for r in sorted(rows, key=lambda r: r["drop"], reverse=True)}


def test_each_kind_is_found_with_its_survivor(corpus: Workspace) -> None:
    name = names(corpus)
    lost = {
        (name[r["id"]], r["drop"]): (r["kind"], name.get(r["cluster"], r["cluster"]))
        for r in duplicate_rows(corpus).to_pylist()
        if not r["representative"]
    }
    assert lost == {
        ("scene-0", "a"): ("image", "smaller"),  # the longer caption
        ("worse", "b"): ("image", "scene-1"),
        ("tiny", "b"): ("image", "scene-2"),  # the longer caption, but rejected
        ("scene-3", "b"): ("exact", "scene-3"),
        ("text", "a"): ("text", "edited"),
        ("leaked", "b"): ("evaluation:held-out", "test-1"),
        ("quoted", "b"): ("evaluation:held-out", "test-2"),
    }
    assert duplicates_sound(corpus, "*")[1] == []
    assert metadata_tables.duplicates(corpus)["duplicates"]
    details = {s.detail for s in trace_record(corpus.tables, "text") if s.drop == "a"}
    edited = next(i for i, n in name.items() if n == "edited")
    assert any(d.startswith(f"is represented by {edited}, similarity 0.") for d in details)
    assert f"duplicate.text: {edited}, the limit is 0.7" in details
    details = {s.detail for s in trace_record(corpus.tables, "leaked")}
    assert "decontamination.held-out: test-1" in details


def test_a_sample_is_kept_if_a_policy_rejects_its_survivor(corpus: Workspace) -> None:
    def kept(policy: Policy) -> set[str]:
        evidence = gather_evidence(corpus, [policy], ["id"])
        ids = evidence.samples["id"].filter(pa.array(judge(evidence, policy).kept))
        return {names(corpus)[i.hex()] for i in ids.to_pylist()}

    current = kept(corpus.config.policy)
    assert {"smaller", "scene-1", "edited"} <= current
    assert not {"scene-0", "worse", "text"} & current
    assert "scene-0" in kept(Policy.model_validate({"image_min_side": {"min": 120}}))


def test_a_second_drop_compares_only_what_is_new_with_the_same_result(
    corpus: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, CONFIG)
    deliver_all(tmp_path)
    withheld = tmp_path / "a"
    shutil.move(tmp_path / "drops" / "a", withheld)
    curate(tmp_path)
    shutil.move(withheld, tmp_path / "drops" / "a")
    compared: list[tuple[int, int]] = []
    real = hamming.within

    def counting(rows: int, radius: int, first: int = 0) -> object:
        compared.append((rows, first))
        return real(rows, radius, first)

    monkeypatch.setattr(hamming, "within", counting)
    workspace = curate(tmp_path)
    assert duplicate_rows(workspace).equals(duplicate_rows(corpus))  # which got both drops at once
    # New hashes are compared with the one of the evaluation set, and with all hashes.
    (with_evaluation, first), (hashes, old) = compared
    assert with_evaluation - 1 == first == hashes - old < old
    compared.clear()
    shutil.rmtree(tmp_path / "drops" / "b")
    tables = workspace.tables
    for table in ("samples", "signals"):
        tables.replace(table, getattr(schema, table.upper()), [], "drop = 'b'")
    find_duplicates(StageContext(workspace))
    assert duplicate_rows(workspace).num_rows == 0
    assert compared == []
    assert tables.open("near_pairs").count_rows("kind = 'image'") == 0


def test_an_evaluation_set_is_compared_in_blocks_with_the_same_result(
    corpus: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(corpus.tables.root, tmp_path / "tables")
    again = Workspace(corpus.root, corpus.config, Tables(tmp_path / "tables"))
    for table in ("compared", "near_pairs"):
        again.tables.open(table).delete("true")
    blocks: list[int] = []
    real = copies.near_blocks

    def counting(
        connection: object, hashes: list[np.ndarray], *options: Any, **more: Any
    ) -> object:
        blocks.append(len(hashes[0]))
        return real(connection, hashes, *options, **more)

    monkeypatch.setattr(copies, "near_blocks", counting)
    monkeypatch.setattr(contamination, "_NODES", 3)
    find_duplicates(StageContext(again))
    assert blocks[:4] == [4, 4, 4, 2]  # ten images, each block with the one of the evaluation
    assert duplicate_rows(again).equals(duplicate_rows(corpus))


def test_the_check_of_duplicates_finds_a_sample_lost_twice(
    corpus: Workspace, tmp_path: Path
) -> None:
    shutil.copytree(corpus.tables.root, tmp_path / "tables")
    broken = Workspace(corpus.root, corpus.config, Tables(tmp_path / "tables"))
    rows = duplicate_rows(corpus)
    columns = schema.DUPLICATES.names
    twice = rows.filter(pc.invert(rows["representative"])).slice(0, 1).select(columns)
    broken_rows = pa.concat_tables([rows.select(columns), twice]).cast(schema.DUPLICATES)
    broken.tables.replace("duplicates", schema.DUPLICATES, broken_rows.to_batches(), None)
    assert any("more than once" in b for b in duplicates_sound(broken, "*")[1])
