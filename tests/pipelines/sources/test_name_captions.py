"""Captions from the names of files, where records have none of their own."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.samples.sample_row import sample_row
from pipelines.sources.name_captions import name_caption
from pipelines.sources.read import read_unit
from pipelines.sources.records import Record, printable
from pipelines.sources.units import list_units
from pipelines.stages import run_keys, staleness
from pipelines.stages.context import StageContext
from store.config.limits import Limits
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, CONFIG, picture, write_config


@pytest.mark.parametrize(
    ("key", "caption"),
    [
        ("photos/water-lily_2", "water lily"),
        ("a/b/KingPenguin03", "king penguin"),
        ("Eis\u00b7b\u00e4r", "eis b\u00e4r"),
        ("\u732b\u306e\u5199\u771f", "\u732b\u306e\u5199\u771f"),
        ("IMG_20240101_120000", None),
        ("DSC00012", None),
        ("Screenshot 2024-01-01", None),
        ("0a1b2c", None),
        ("x", None),
        ("", None),
    ],
)
def test_words_of_names(key, caption):
    assert name_caption(key) == caption


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_any_name_gives_words_or_nothing(key):
    caption = name_caption(printable(key))
    assert caption is None or (caption == caption.strip() and max(map(len, caption.split())) >= 3)


def make(root: Path, captions: str) -> Workspace:
    config = CONFIG.replace("{path: drops}", f"{{path: drops, captions: {captions}}}")
    write_config(root, config)
    return Workspace.open(root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "drops" / "first"
    folder.mkdir(parents=True)
    for number, name in enumerate(("water-lily", "IMG_001", "own", "meta")):
        (folder / f"{name}.png").write_bytes(picture(COLOURS["red"], number))
    (folder / "own.txt").write_text("its own caption")
    (folder / "meta.json").write_text('{"caption": "of its metadata"}')
    return tmp_path


def rows(workspace: Workspace) -> dict[str, str | None]:
    (drop,) = staleness.drops(workspace).values()
    records = [r for unit in list_units(drop) for r in read_unit(unit, Limits())]
    assert all(isinstance(record, Record) for record in records)
    return {row["key"]: row["text"] for row in (sample_row(record, Limits()) for record in records)}


def test_names_are_captions_only_where_there_is_no_other(root):
    expected = {"own": "its own caption", "meta": "of its metadata", "IMG_001": None}
    assert rows(make(root, "names")) == {**expected, "water-lily": "water lily"}
    assert rows(make(root, "files")) == {**expected, "water-lily": None}


def test_a_change_of_the_option_makes_samples_stale_and_its_default_does_not(root):
    keys = []
    for workspace in (make(root, "files"), make(root, "names")):
        (drop,) = staleness.drops(workspace).values()
        keys.append(run_keys.samples(StageContext(workspace, drop)))
    write_config(root)  # a configuration from before there was the option
    (drop,) = staleness.drops(Workspace.open(root)).values()
    assert keys[0] == run_keys.samples(StageContext(Workspace.open(root), drop)) != keys[1]
