"""A corpus with two spaces: both are made, each with assets, records and releases of its own."""

from pathlib import Path

import dagster as dg
import pytest

import isotrope
from assets.corpus_check import check_corpus, mark_stale
from orchestration import dagster_home
from orchestration.definitions import define
from orchestration.reported_tables import report_tables
from orchestration.runner import run_missing
from pipelines.estimate.status import corpus_status
from pipelines.stages import staleness
from store.config.corpus_yaml import parse
from store.errors import NotFoundError
from store.tables.check import REMAKE, Finding
from store.tables.stages import BY_DROP, BY_SPACE, GLOBAL
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config

TWO = (
    CONFIG
    + """\
  newer-words:
    image: "python:tests.helpers.corpus:ColourImage"
    text: "python:tests.helpers.corpus:NewerText"
"""
)
OTHER = "newer-words"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Workspace:
    """A corpus of one drop, made in both spaces by one run."""
    root = tmp_path_factory.mktemp("spaces")
    write_config(root, TWO)
    deliver(root / "drops" / "first", 60)
    workspace = Workspace.open(root)
    steps = [step.stage for step in run_missing(workspace)]
    assert steps == [*BY_DROP, *GLOBAL, *(f"{stage}__{OTHER}" for stage in BY_SPACE)]
    return workspace


@pytest.mark.slow
def test_each_space_is_searched_in_its_own_release(made):
    main, other = (isotrope.connect(made.root, space=space) for space in (None, OTHER))
    assert (main.release.space, other.release.space) == ("colours", OTHER)
    assert other.release.number > main.release.number
    text = "a red square number 0"
    # The newer encoder of texts turns every vector around, so what was near is far.
    near = main.search(text=text).among("image").correct("none").limit(60).to_list()
    far = other.search(text=text).among("image").correct("none").limit(60).to_list()
    assert near[0]["key"] == far[-1]["key"] == "red-0000"


@pytest.mark.slow
def test_nothing_is_stale_and_a_change_of_one_space_leaves_the_other(made, monkeypatch):
    assert run_missing(made) == []
    assert all(not stage.stale for stage in corpus_status(made).stages)
    monkeypatch.setattr("tests.helpers.corpus.NewerText.fingerprint", "colour-text@3")
    changed = Workspace.open(made.root)
    assert staleness.stale(changed, "first") == []
    assert staleness.stale(changed.of_space(OTHER), "first") == ["vectors"]


@pytest.mark.slow
def test_a_shared_stage_that_will_change_makes_the_stages_of_both_spaces_stale(made):
    changed = TWO.replace("image_min_side: {min: 16}", "image_min_side: {min: 17}")
    config = parse(changed)
    workspace = Workspace(made.root, config, made.tables)
    for space in workspace.spaces():
        assert {"banks", "gallery", "index", "release"} <= set(staleness.stale(space, None))
    assert "decisions" not in staleness.stale(workspace.of_space(OTHER), None)


@pytest.mark.slow
def test_the_checks_read_the_tables_of_both_spaces(made):
    findings = list(check_corpus(made))
    assert {f.table for f in findings} >= {"vectors", f"vectors__{OTHER}", f"release__{OTHER}"}
    assert [f for f in findings if f.problem] == []
    failed = Finding("gallery sound", f"gallery__{OTHER}", problem="a row is lost", remedy=REMAKE)
    mark_stale(made, [failed])
    steps = [step.stage for step in run_missing(made)]
    assert steps == ["gallery", f"gallery__{OTHER}"]  # their output is the same as before


@pytest.mark.slow
def test_a_name_selects_a_stage_in_all_spaces_or_in_one(made):
    assert run_missing(made, select=f"release__{OTHER}") == []
    with pytest.raises(NotFoundError, match="its spaces: colours, newer-words"):
        made.of_space("clip")


def test_each_space_is_a_group_of_assets_with_checks():
    definitions = define(parse(TWO))
    with dg.DagsterInstance.ephemeral():  # not one that another test has left behind
        specs = definitions.resolve_all_asset_specs()
    groups = {spec.key.to_user_string(): spec.group_name for spec in specs}
    assert {name for name, group in groups.items() if group == "colours"} == set(BY_SPACE)
    others = {name for name, group in groups.items() if group == "newer_words"}
    assert others == {f"{stage}__{OTHER}" for stage in BY_SPACE}
    graph = definitions.resolve_asset_graph()
    gallery = graph.get(dg.AssetKey(f"gallery__{OTHER}"))
    parents = {key.to_user_string() for key in gallery.parent_keys}
    assert parents == {f"vectors__{OTHER}", "decisions", f"banks__{OTHER}"}
    assert gallery.check_keys
    corpus = definitions.resolve_job_def("corpus").asset_layer.selected_asset_keys
    assert dg.AssetKey(f"release__{OTHER}") in corpus


@pytest.mark.slow
def test_the_assets_of_both_spaces_are_reported_and_materialised(made, tmp_path: Path):
    copied = Workspace(tmp_path, made.config, made.tables)
    with dagster_home.instance(copied) as opened:
        dagster_home.add_partitions(copied, opened)
        assert report_tables(copied, opened) == len(BY_DROP) + len(GLOBAL) + len(BY_SPACE)
        definitions = define(made.config)
        result = dg.materialize(
            definitions.assets,
            selection=dg.AssetSelection.assets(f"index__{OTHER}"),
            instance=opened,
            resources={"corpus": made},
        )
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["up_to_date"].value is True


@pytest.mark.slow
def test_drift_and_hubs_are_checked_in_both_spaces(made, tmp_path: Path):
    definitions = define(made.config)
    (sensor,) = (s for s in definitions.sensors or [] if s.name == "drift")
    with dagster_home.instance(Workspace(tmp_path, made.config, made.tables)) as opened:
        with dg.build_sensor_context(instance=opened, resources={"corpus": made}) as context:
            waiting = sensor(context).skip_message
        assert "colours, release" in waiting
        assert f"{OTHER}, release" in waiting
        job = definitions.resolve_job_def("health")
        done = job.execute_in_process(instance=opened, resources={"corpus": made})
        checked = {
            (each.asset_key.to_user_string(), each.check_name)
            for each in done.get_asset_check_evaluations()
        }
    of_spaces = {("release", "release_is_fresh"), ("gallery", "no_planted_hubs")}
    of_spaces |= {("release", "no_drift")}
    assert checked >= of_spaces | {(f"{asset}__{OTHER}", name) for asset, name in of_spaces}
