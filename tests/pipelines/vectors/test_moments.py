"""Moments in a corpus: made by difference, kept by releases, searched, and taken down."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import isotrope
from assets.corpus_check import check_corpus
from assets.corpus_repair import repair_corpus
from pipelines.estimate.estimate import measured
from pipelines.removal.unreferenced import delete_unreferenced
from pipelines.stages import staleness
from pipelines.takedown import takedown
from pipelines.takedown.selection import Selection
from store import errors
from store.arrow import as_matrix
from store.search import router
from store.search.column_plan import WeightedInput
from store.search.ranked import gallery_search
from store.search.vector_layout import unfold
from store.tables import moments
from store.tables.lance_tables import quote
from store.tables.releases import latest_release
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, picture
from tests.helpers.served import served
from tests.helpers.stages import make_stale_stages
from tests.orchestration.test_cli import isotrope as run_isotrope

VECTORS, TABLE, GALLERY = (
    f"{kind}__colours__image" for kind in ("moment_vectors", "moments", "gallery")
)
SECTION = "moments: {image: {tiles: 2}}\n"
PLANTED = (240, 20, 230)


def deliver_collage(folder: Path) -> None:
    """A grey picture whose quarter at the bottom left has a colour that no other one has."""
    folder.mkdir(parents=True, exist_ok=True)
    collage = Image.new("RGB", (48, 48), COLOURS["grey"])
    collage.paste(PLANTED, (0, 24, 24, 48))
    collage.save(folder / "collage.png")
    (folder / "collage.txt").write_text("a collage")


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory, squares: Workspace) -> Workspace:
    """A copy of `squares` whose images have tiles. Tests must not change it."""
    root = tmp_path_factory.mktemp("cut") / "squares"
    shutil.copytree(squares.root, root)
    with (root / "corpus.yaml").open("a") as file:
        file.write(SECTION)
    workspace = Workspace.open(root)
    for drop in staleness.drops(workspace).values():
        assert staleness.stale(workspace, drop) == ["vectors"]
    before = {name: workspace.tables.version(name) for name in workspace.tables.names()}
    make_stale_stages(workspace)
    after = {name: workspace.tables.version(name) for name in workspace.tables.names()}
    changed = {name for name, version in after.items() if before.get(name) != version}
    made = {VECTORS, TABLE, "releases", "stages"}
    rewritten = {"directions__colours", "indexes__colours", "tallies__colours"}
    assert made <= changed <= made | rewritten
    return workspace


@pytest.fixture
def copied(tmp_path: Path, cut: Workspace) -> Workspace:
    """A copy of the corpus that a test may change."""
    shutil.copytree(cut.root, tmp_path / "squares", ignore=shutil.ignore_patterns("_locks"))
    return Workspace.open(tmp_path / "squares")


def parts(workspace: Workspace, table: str) -> list[str]:
    return sorted(workspace.tables.open(table).to_table(["part_id"])["part_id"].to_pylist())


def check_sound(workspace: Workspace) -> None:
    assert sorted(parts(workspace, GALLERY) * 4) == parts(workspace, TABLE)
    assert [f for f in check_corpus(workspace, deep=True) if not f.passed] == []


def test_every_image_has_tiles_with_the_columns_of_its_part(cut: Workspace) -> None:
    check_sound(cut)
    columns = ["part_id", "id", "cluster", "key", "caption", "drops", "image_width"]
    rows = cut.tables.open(TABLE).to_table([*columns, "moment", "_box"]).to_pylist()
    by_part = {
        row["part_id"]: row for row in cut.tables.open(GALLERY).to_table(columns).to_pylist()
    }
    for row in rows:
        assert {name: row[name] for name in columns} == by_part[row["part_id"]]
        left, top = (row["moment"] % 2) / 2, (row["moment"] // 2) / 2
        np.testing.assert_allclose(row["_box"], [left, top, left + 0.5, top + 0.5])


def test_a_release_has_them_and_earlier_releases_do_not(cut: Workspace) -> None:
    release = latest_release(cut.tables)
    assert release.versions[TABLE] == cut.tables.version(TABLE)
    own = picture(COLOURS["red"], 5)  # whose first tile has its colour and its number
    search = isotrope.connect(cut.root).search(image=own).correct("none").moments()
    row = search.to_list()[0]
    assert (row["key"], row["_box"]) == ("red-0005", [0.0, 0.0, 0.5, 0.5])
    assert row["_score"] == pytest.approx(1, abs=1e-3)
    with pytest.raises(errors.InputError, match="release 1 has no moments"):
        search.release(1).run()


def test_an_index_of_other_settings_is_another_output(cut: Workspace) -> None:
    row = stage_record(cut.tables, "index")
    assert row is not None
    assert row["output"] == row["run_key"]


def test_the_own_cluster_of_a_bank_query_does_not_count_in_a_gap(cut: Workspace) -> None:
    opened = isotrope.connect(cut.root)
    bank = opened.banks.queries("text")
    query = opened.search(vectors={"text": bank.vectors[0]}).correct("none")
    given = [WeightedInput("text", bank.vectors[0], 1.0)]
    for in_moments, table in ((False, GALLERY), (True, TABLE)):
        rows = cut.tables.open(table).to_table(["vector", "cluster"])
        scores = bank.vectors @ unfold(as_matrix(rows["vector"]), bank.vectors.shape[1]).T
        clusters = np.array(rows["cluster"].to_pylist())
        assert set(bank.clusters) & set(clusters)
        others = np.where(clusters == bank.clusters[:, None], -np.inf, scores)
        search = gallery_search(opened, query.moments(in_moments), given, "image")
        found = router.best_scores(opened, search, "text")
        np.testing.assert_allclose(found, others.max(axis=1)[: router.BANK], atol=1e-5)
    rows = opened.search(text="a red square").among("auto").limit(3).run()
    assert "image moments" in rows.notes[0]


def test_the_server_and_the_command_line_give_the_same(cut: Workspace) -> None:
    def found(corpus: Any) -> list[tuple[str, list[float], float]]:
        query = corpus.search(text="a blue square number 7").limit(5)
        assert query.among("auto").run().notes[0].startswith("auto: by gaps ")
        search = query.moments()
        return [(r["key"], r["_box"], round(r["_score"], 4)) for r in search.to_list()]

    local = found(isotrope.connect(cut.root))
    with served(cut.root) as server:
        assert found(isotrope.connect(server.url)) == local
    query = ("search", "a blue square number 7", "--moments", "--limit", 5)
    printed = run_isotrope(*query, "--json", "--explain", 1, "--corpus", cut.root)
    answer = json.loads(printed)
    assert [(r["key"], r["_box"], round(r["_score"], 4)) for r in answer["hits"]] == local
    assert answer["explained"][0]["span"].startswith("left ")
    assert "_box" in run_isotrope(*query, "--corpus", cut.root)


def test_an_estimate_counts_their_bytes(cut: Workspace) -> None:
    for stage, names in (("vectors", (VECTORS, "vectors__colours")), ("gallery", (TABLE,))):
        sizes = [
            sum(file.stat().st_size for file in Path(cut.tables.uri(name), "data").iterdir())
            for name in names
        ]
        rate = measured(cut, stage)
        assert rate is not None
        assert rate.bytes * rate.kept * rate.records >= 0.9 * sum(sizes)


def test_a_new_drop_adds_its_own_and_a_planted_tile_is_found(copied: Workspace) -> None:
    dataset = copied.tables.open(TABLE)
    before, files = parts(copied, TABLE), {f.fragment_id for f in dataset.get_fragments()}
    deliver_collage(copied.root / "drops" / "third")
    make_stale_stages(copied)
    assert len(parts(copied, TABLE)) == len(before) + 4
    assert files <= {f.fragment_id for f in copied.tables.open(TABLE).get_fragments()}
    check_sound(copied)
    search = isotrope.connect(copied.root).search(image=Image.new("RGB", (24, 24), PLANTED))
    (row,) = search.moments().limit(1).to_list()
    assert row["key"] == "collage"
    assert row["_box"] == [0.0, 0.5, 0.5, 1.0]
    assert "collage" not in {row["key"] for row in search.to_list()}
    release = latest_release(copied.tables).number
    shutil.rmtree(copied.root / "drops" / "third")
    with pytest.raises(errors.InputError, match="no moments"):
        search.release(1).moments().run()
    receipt = takedown.take_down(copied, Selection(keys=frozenset(["collage"])), "a request")
    assert receipt.rows[VECTORS] == 1
    assert receipt.rows[TABLE] == 4
    opened = isotrope.connect(copied.root, release=release)
    keys = [r["key"] for r in opened.search(text="yellow").moments().limit(500).to_list()]
    assert keys
    assert "collage" not in keys


@pytest.mark.slow
def test_other_tiles_replace_them_and_without_the_section_they_go(copied: Workspace) -> None:
    file = copied.root / "corpus.yaml"
    text = file.read_text()
    file.write_text(text.replace("tiles: 2", "tiles: 3, overlap: 0.25"))
    workspace = Workspace.open(copied.root)
    make_stale_stages(workspace)
    assert len(parts(workspace, TABLE)) == 9 * len(parts(workspace, GALLERY))
    rows = workspace.tables.open(VECTORS).to_table()
    assert set(moments.read_columns(rows).lengths) == {9}
    file.write_text(text.replace(SECTION, ""))
    workspace = Workspace.open(copied.root)
    make_stale_stages(workspace)
    assert parts(workspace, TABLE) == []
    assert TABLE not in latest_release(workspace.tables).versions


@pytest.mark.slow
def test_an_index_of_moments_finds_the_same_parts(copied: Workspace) -> None:
    search = isotrope.connect(copied.root).search(text=["a red square", "number 41"])
    scanned = search.moments().limit(5).to_list()
    with (copied.root / "corpus.yaml").open("a") as file:
        file.write("index: {type: ivf_pq, partitions: 2, recall: 0.9}\n")
    workspace = Workspace.open(copied.root)
    make_stale_stages(workspace)
    index = latest_release(workspace.tables).indexes["image moments"]
    assert index.type == "ivf_pq"
    assert index.rows == len(parts(workspace, TABLE))
    opened = isotrope.connect(copied.root)
    result = opened.search(text=["a red square", "number 41"]).moments().limit(5).run()
    assert not result.complete
    assert result.recall >= 0.9
    found = {(row["query"], row["key"]) for row in result.rows.to_pylist()}
    assert len(found & {(row["query"], row["key"]) for row in scanned}) >= 8
    check_sound(workspace)


def test_moments_of_no_sample_are_deleted(copied: Workspace) -> None:
    rows = copied.tables.open(VECTORS).to_table().slice(0, 2)
    extra = rows.set_column(0, rows.schema.field(0), [["f" * 32, "e" * 32]])
    copied.tables.upsert(VECTORS, rows.schema, extra.to_batches(), "part_id")
    assert delete_unreferenced(copied) == {VECTORS: 2}
    check_sound(copied)


@pytest.mark.slow
@pytest.mark.parametrize(("table", "stale"), [(VECTORS, "vectors"), (TABLE, "gallery")])
def test_a_damaged_table_is_made_again(copied: Workspace, table: str, stale: str) -> None:
    before = parts(copied, table)
    for file in Path(copied.tables.uri(table), "data").iterdir():
        file.unlink()
    done = repair_corpus(copied, yes=True)
    assert [each.table for each in done.tables] == [table]
    assert stale in done.stale
    make_stale_stages(copied)
    assert parts(copied, table) == before
    assert isotrope.connect(copied.root).search(text="red").moments().to_list()


def test_a_takedown_leaves_no_bytes_of_a_tile(copied: Workspace) -> None:
    key = "blue-0127"
    (row,) = copied.tables.open("samples").to_table(filter=f"key = '{key}'").to_pylist()
    where = f"part_id = {quote(row['image_id'])}"
    stored = copied.tables.open(VECTORS).to_table(filter=where)
    needle = moments.read_columns(stored).vectors.astype(np.float16)[0].tobytes()
    files = [path for path in copied.root.rglob("*") if path.is_file()]
    assert any(needle in path.read_bytes() for path in files)
    takedown.take_down(copied, Selection(keys=frozenset([key])), "a request")
    files = [path for path in copied.root.rglob("*") if path.is_file()]
    assert not any(needle in path.read_bytes() for path in files)
    assert copied.tables.open(TABLE).count_rows(where) == 0


def test_what_cannot_be_cut_is_named(copied: Workspace) -> None:
    file = copied.root / "corpus.yaml"
    file.write_text(file.read_text().replace(SECTION, "moments: {audio: {seconds: 2}}\n"))
    with pytest.raises(errors.EncoderError, match="no tower of audio"):
        make_stale_stages(Workspace.open(copied.root))
    file.write_text(file.read_text().replace("{audio: {seconds: 2}}", "{image: {tiles: 1}}"))
    with pytest.raises(errors.ConfigError, match=r"moments\.image\.tiles"):
        Workspace.open(copied.root)
