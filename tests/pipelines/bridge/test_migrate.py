"""Items move to a newer space some at a time, and the switch to it embeds nothing again."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import isotrope
from assets.corpus_check import check_corpus
from orchestration.cli.main import main
from pipelines.bridge.migrate import migrate
from store.errors import InputError, NotFoundError
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG as COLOURS
from tests.helpers.corpus import deliver, write_config
from tests.helpers.stages import make_stale_stages
from tests.helpers.turned import QUERY_SPACE

CONFIG = "corrections: {methods: [nnn]}\n" + COLOURS
COUNT = 60
SWITCHED = CONFIG.replace("space: colours\n", "space: turned\n") + QUERY_SPACE.replace(
    "query_spaces:\n", ""
)


def embedded(workspace: Workspace, modality: str) -> set[str]:
    where = f"modality = '{modality}' AND encoder = 'turned-{modality}@1'"
    rows = workspace.tables.open("vectors__turned").to_table(["part_id"], filter=where)
    return set(rows["part_id"].to_pylist())


@pytest.mark.slow
def test_items_are_embedded_by_difference_and_the_switch_embeds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, CONFIG + QUERY_SPACE)
    for drop in ("first", "second"):
        deliver(tmp_path / "drops" / drop, COUNT, first=0 if drop == "first" else 1000)
    workspace = Workspace.open(tmp_path)
    make_stale_stages(workspace)
    log = tmp_path / "turned.log"
    log.touch()
    monkeypatch.setenv("TURNED_LOG", str(log))
    gallery = isotrope.open_corpus(tmp_path).gallery_dataset("image")
    items = gallery.to_table(["part_id", "drops"]).to_pylist()
    newest = {row["part_id"] for row in items if row["drops"] == ["second"]}

    first = migrate(workspace, "turned", 20)
    assert {m: each.made for m, each in first.items()} == {"image": 20, "text": 20}
    assert embedded(workspace, "image") <= newest
    assert first["image"].left == len(items) - 20
    assert log.stat().st_size == 20
    assert isotrope.connect(tmp_path).release.space == "colours"
    assert [f for f in check_corpus(workspace) if not f.passed] == []

    command = ["migrate", "turned", "--parts", "30", "--corpus", str(tmp_path)]
    report = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert report["modalities"]["image"]["made"] == 30
    assert log.stat().st_size == 50
    migrate(workspace, "turned", 1000)
    assert embedded(workspace, "image") == {row["part_id"] for row in items}
    assert log.stat().st_size == len(items)
    done = CliRunner().invoke(main, command)
    assert "space: turned" in done.output
    assert log.stat().st_size == len(items)

    write_config(tmp_path, SWITCHED)
    workspace = Workspace.open(tmp_path)
    make_stale_stages(workspace)
    assert log.stat().st_size == len(items)
    corpus = isotrope.connect(tmp_path)
    assert corpus.release.space == "turned"
    assert corpus.release.fingerprints["image"] == "turned-image@1"
    with pytest.raises(InputError, match="isotrope run` embeds all of it"):
        migrate(workspace, "turned", 5)
    with pytest.raises(NotFoundError, match="no space 'other'"):
        migrate(workspace, "other", 5)
