"""Words of items in a corpus: they name what is seen, and a new drop changes no others."""

import shutil
from pathlib import Path

import pytest

import isotrope
from pipelines.stages import staleness
from store.tables.releases import latest_release
from store.tables.words import read_words
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, deliver
from tests.helpers.stages import make_stale_stages

IMAGES = "gallery__colours__image"


@pytest.fixture(scope="module")
def squares_with_words(tmp_path_factory: pytest.TempPathFactory, squares: Workspace) -> Workspace:
    """A copy of `squares` whose images have words."""
    root = tmp_path_factory.mktemp("words") / "squares"
    shutil.copytree(squares.root, root)
    return with_words(root, "words: {count: 2, most_share: 0.5}")


def with_words(root: Path, section: str) -> Workspace:
    lines = (root / "corpus.yaml").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("words:")]
    (root / "corpus.yaml").write_text("\n".join([*lines, section, ""]))
    workspace = Workspace.open(root)
    assert staleness.stale(workspace, None) == ["gallery", "index", "release"]
    make_stale_stages(workspace)
    return workspace


def test_images_have_the_words_of_their_colours(squares_with_words: Workspace) -> None:
    tables = squares_with_words.tables
    words = read_words(tables, "colours")
    assert words is not None
    assert set(words.words) == set(COLOURS)  # "square" and "number" are in every caption
    assert set(words.biases) == {"image"}
    rows = tables.open(IMAGES).to_table(["key", "words", "words_text"]).to_pylist()
    right = [row["words"][0]["word"] == row["key"].split("-")[0] for row in rows]
    assert sum(right) > 0.3 * len(right)  # by chance 0.2: words have vectors with much noise
    assert {len(row["words"]) for row in rows} == {2}
    texts = tables.open("gallery__colours__text").to_table(["words"])
    assert texts["words"].null_count == texts.num_rows


def test_the_release_measures_words_and_decides_by_the_pairs(squares_with_words: Workspace) -> None:
    release = latest_release(squares_with_words.tables)
    figures = release.evaluation["text->image"]["words"]
    assert figures["adopted"] is release.directions["text->image"].words
    assert figures["adopted"] is (figures["reason"].startswith("adopted"))
    assert figures["vocabulary"] == len(COLOURS)
    assert figures["recall"]["corrected"]["mean"] > figures["recall"]["frequent"]["mean"]
    assert figures["test"]["queries"] > 20
    assert "words" not in release.evaluation["image->text"]
    hits = isotrope.connect(squares_with_words.root).search(text="a red square")
    assert hits.hybrid("red", words=True).select("words").to_list()[0]["_fused"] > 0


@pytest.mark.slow
def test_a_new_drop_gets_words_and_changes_no_others(
    tmp_path: Path, squares_with_words: Workspace
) -> None:
    root = tmp_path / "squares"
    shutil.copytree(squares_with_words.root, root)
    workspace = Workspace.open(root)
    before = words_of_images(workspace)
    deliver(root / "drops" / "third", 20, first=700)
    make_stale_stages(workspace)
    after = words_of_images(workspace)
    assert len(after) == len(before) + 20
    assert {part: after[part] for part in before} == before
    assert all(after.values())
    off = with_words(root, "")
    assert not any(words_of_images(off).values())


def words_of_images(workspace: Workspace) -> dict[str, list]:
    rows = workspace.tables.open(IMAGES).to_table(["part_id", "words"]).to_pylist()
    return {row["part_id"]: row["words"] for row in rows}
