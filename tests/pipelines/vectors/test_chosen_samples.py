"""A space with `only_for` embeds what the main space has chosen, and by difference."""

from pathlib import Path

import pytest

from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.config.corpus_yaml import parse
from store.errors import ConfigError
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.stages import build, make_stale_stages

OTHER = "newer"
TOWERS = """\
  newer:
    image: "python:tests.helpers.corpus:ColourImage"
    text: "python:tests.helpers.corpus:NewerText"
    only_for: %s
"""


def configured(root: Path, only_for: str, rule: str = "") -> Workspace:
    config = CONFIG.replace("image_min_side: {min: 16}", f"image_min_side: {{min: 16}}\n  {rule}")
    write_config(root, config + TOWERS % only_for)
    return Workspace.open(root)


def made(root: Path, only_for: str, rule: str = "") -> Workspace:
    workspace = configured(root, only_for, rule)
    for drop in staleness.drops(workspace).values():
        for stage in staleness.stale(workspace, drop):
            build(stage, StageContext(workspace, drop))
    for stage in ("pairs", "duplicates", "decisions"):
        if stage in staleness.stale(workspace, None):
            build(stage, StageContext(workspace))
    other = workspace.of_space(OTHER)
    assert staleness.stale(other, "first") == ["vectors"]
    build("vectors", StageContext(other, "first"))
    assert staleness.stale(other, "first") == []
    return workspace


def parts_of(workspace: Workspace, ids: set[str]) -> set[str]:
    columns = ["id", "image_id", "text_id"]
    rows = workspace.tables.scan("samples", schema.SAMPLES, columns).to_pylist()
    return {row[c] for row in rows if row["id"] in ids for c in columns[1:]}


def embedded(workspace: Workspace, table: str = f"vectors__{OTHER}") -> set[str]:
    return set(workspace.tables.open(table).to_table(["part_id"])["part_id"].to_pylist())


def kept(workspace: Workspace) -> set[str]:
    rows = workspace.tables.scan("decisions", schema.DECISIONS, ["id", "keep"]).to_pylist()
    return {row["id"] for row in rows if row["keep"]}


def test_kept_samples_are_embedded_by_difference(tmp_path: Path, ray_cluster: None) -> None:
    deliver(tmp_path / "drops" / "first", 40)
    workspace = made(tmp_path, "kept", "sample: {count: 10}")
    first = kept(workspace)
    assert len(first) == 10
    assert embedded(workspace) == parts_of(workspace, first)
    assert len(embedded(workspace, "vectors__colours")) == 80
    more = made(tmp_path, "kept", "sample: {count: 15}")
    assert kept(more) > first
    assert embedded(more) == parts_of(more, kept(more))
    fewer = made(tmp_path, "kept", "sample: {count: 5}")  # vectors that were made are kept
    assert embedded(fewer) == embedded(more)
    for space in more.spaces():
        make_stale_stages(space)  # up to the releases, which count what they get


def test_rules_on_the_small_space_leave_a_margin(tmp_path: Path, ray_cluster: None) -> None:
    drop = tmp_path / "drops" / "first"
    deliver(drop, 40)
    captions = sorted(drop.glob("*.txt"))[::5]
    texts = [caption.read_text() for caption in captions]
    for caption, text in zip(captions, texts[1:] + texts[:1], strict=True):
        caption.write_text(text)  # of another picture
    rule = "sample: {count: 12}"
    workspace = made(tmp_path, "{text_image_rank: {max: 0.1}, text_chars: {min: 3}}", rule)
    rows = workspace.tables.scan("pairs__colours", schema.PAIRS, ["id", "text_image_rank"])
    uncertain = {r["id"] for r in rows.to_pylist() if r["text_image_rank"] <= 0.1}
    assert len(uncertain | kept(workspace)) < 40
    assert uncertain - kept(workspace)
    before = embedded(workspace)
    assert before == parts_of(workspace, uncertain | kept(workspace))
    strict = made(tmp_path, "{text_image_rank: {min: 0.99}}", "sample: {count: 20}")
    assert embedded(strict) == before | parts_of(strict, kept(strict))  # what is kept, always
    assert embedded(strict) > before
    looser = configured(tmp_path, "{text_image_rank: {max: 0.2}}", rule)
    assert staleness.stale(looser.of_space(OTHER), "first") == ["vectors"]
    assert staleness.stale(looser, "first") == []


@pytest.mark.parametrize(
    ("only_for", "message"),
    [
        ("rejected", "allowed are `kept`, or rules"),
        ("{text_image_rank: {keep_top: 0.5}}", "whose tests are min, max"),
        ("{sample: {count: 5}}", "whose tests are min, max"),
        ("{no_such: {min: 1}}", "'no_such' is not a signal"),
        ("{text_image_cosine: {min: 0.2}}", "does not say what it was made for"),
    ],
)
def test_a_wrong_choice_is_refused(only_for: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"spaces\.newer\.(only_for|policy).*{message}"):
        parse(CONFIG + TOWERS % only_for)


def test_the_main_space_embeds_all() -> None:
    with pytest.raises(ConfigError, match=r"spaces\.colours\.only_for: only a space beside"):
        parse(CONFIG + "    only_for: kept\n")
