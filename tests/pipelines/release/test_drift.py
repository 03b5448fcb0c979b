"""Drift: queries unlike those that a release was fitted on are detected, and request a refit."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from assets.materialise import FORCE
from embedders.encoder import unit_rows
from orchestration import dagster_home
from orchestration.definitions import VARIABLE, definitions
from orchestration.jobs import forgetting
from pipelines.release import drift
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.config import corrections
from store.search import query_log
from store.search.query_log import QueryLog
from store.tables import releases
from store.tables.banks import describe_banks
from store.tables.drift import latest_drift
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, CONFIG, DIM, ColourText, deliver, write_config
from tests.helpers.stages import make_stale_stages
from tests.orchestration.test_cli import isotrope

FINGERPRINTS = {"text": "colour-text@1", "image": "colour-image@1"}
LOGGED = "query_log: {}\ncorrections: {bank_share: 0.3, test_share: 0.4, query_bank: log}\n"


@pytest.fixture(scope="module")
def released(squares: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the corpus `squares` with a release that has more than 200 test queries."""
    root = tmp_path_factory.mktemp("released")
    shutil.copytree(squares.root / "tables", root / "tables")
    shutil.copytree(squares.root / "drops", root / "drops")
    write_config(root, CONFIG + LOGGED)
    make_stale_stages(Workspace.open(root))
    return root


@pytest.fixture
def workspace(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    shutil.copytree(released, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return Workspace.open(tmp_path)


def log_queries(
    workspace: Workspace, vectors: np.ndarray, fingerprints: dict = FINGERPRINTS
) -> None:
    log = QueryLog(workspace.tables, corrections.QueryLog())
    for vector in vectors:
        log.add("colours", fingerprints, {"text": vector})
    log.close()


def usual_queries(count: int) -> np.ndarray:
    """Captions like those of the corpus, of squares that are not in it."""
    names = list(COLOURS)
    texts = [f"a {names[n % len(names)]} square number {n}" for n in range(9_000, 9_000 + count)]
    return ColourText().encode(texts)


def narrow_queries(count: int, seed: int = 0) -> np.ndarray:
    """Queries about one topic: the few items near to it become hubs."""
    topic = np.random.default_rng(1).normal(size=DIM)
    return unit_rows(topic + 0.3 * np.random.default_rng(seed).normal(size=(count, DIM)))


def by_direction(measured: list) -> dict:
    return {d.direction: d for d in measured}


def test_without_fresh_queries_there_is_no_verdict(workspace: Workspace) -> None:
    log_queries(workspace, usual_queries(100))
    log_queries(workspace, usual_queries(300), {"text": "colour-text@0"})  # of another encoder
    measured = by_direction(drift.measure_drift(workspace))
    assert set(measured) == {"text->image", "image->text"}
    assert measured["text->image"].drifted is None
    assert (
        measured["text->image"].note
        == "no verdict: 100 fresh queries so far, at least 200 are needed"
    )


def test_queries_like_the_release_s_own_do_not_drift(workspace: Workspace) -> None:
    log_queries(workspace, usual_queries(400))
    measured = by_direction(drift.measure_drift(workspace))["text->image"]
    assert (measured.source, measured.drifted) == ("log", False)
    assert measured.queries >= 200
    assert sum(measured.occurrence["fresh"]) == sum(measured.occurrence["release's own"]) == 600


def test_queries_of_another_kind_drift(workspace: Workspace) -> None:
    log_queries(workspace, narrow_queries(400))
    measured = by_direction(drift.measure_drift(workspace))["text->image"]
    assert measured.drifted is True
    assert measured.low is not None
    assert measured.low > measured.bound
    release = releases.latest_release(workspace.tables)
    stored = by_direction(latest_drift(workspace.tables, release))["text->image"]
    assert stored == measured
    output = isotrope("drift", "--corpus", workspace.root)
    assert "drifted" in output
    assert "hubs come back" in output


def test_a_repeated_query_counts_once(workspace: Workspace) -> None:
    log_queries(workspace, np.repeat(narrow_queries(1), 500, axis=0))
    measured = by_direction(drift.measure_drift(workspace))["text->image"]
    assert measured.note.startswith("no verdict: 1 fresh")


def test_without_a_log_newly_arrived_parts_are_the_fresh_queries(workspace: Workspace) -> None:
    deliver(workspace.root / "drops" / "third", 250, first=2_000)
    from pipelines.samples.stage import ingest
    from pipelines.signals.stage import measure
    from pipelines.vectors.stage import embed

    delivered = staleness.drops(workspace)["third"]
    ingest(StageContext(workspace, delivered))
    measure(StageContext(workspace, "third"))
    embed(StageContext(workspace, "third"))
    measured = by_direction(drift.measure_drift(workspace))
    for direction in ("text->image", "image->text"):
        assert (measured[direction].source, measured[direction].drifted) == ("corpus", False)


sensor = next(s for s in definitions.sensors or [] if s.name == "drift")


def tick(workspace: Workspace, opened: dg.DagsterInstance):
    with dg.build_sensor_context(instance=opened, resources={"corpus": workspace}) as context:
        return sensor(context)


def execute(opened: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    assert request.job_name is not None
    job = definitions.resolve_job_def(request.job_name)
    return job.execute_in_process(instance=opened, tags=request.tags)


@pytest.mark.slow
def test_drift_requests_a_refit_and_a_refit_ends_it(workspace: Workspace) -> None:
    tables = workspace.tables
    before = releases.latest_release(tables)
    banks = describe_banks(tables.open("banks__colours"))
    with dagster_home.instance(workspace) as opened:
        assert "0 queries logged since" in tick(workspace, opened).skip_message
        log_queries(workspace, narrow_queries(1_200))
        measure = tick(workspace, opened)
        assert measure.job_name == "measure_drift"
        (checked,) = execute(opened, measure).get_asset_check_evaluations()
        assert not checked.passed
        assert checked.severity == dg.AssetCheckSeverity.WARN
        assert "| text->image |" in checked.metadata["k-skewness"].value
        assert "image/png;base64" in checked.metadata["k-occurrence, text->image"].value
        refit = tick(workspace, opened)
        assert refit.job_name == "refit"
        assert refit.tags["isotrope/drifted"] == "colours/text->image"
        # The request has the same key every time, so it runs once.
        assert tick(workspace, opened).run_key == refit.run_key
        execute(opened, refit)

        after = releases.latest_release(tables)
        assert after.number == before.number + 1
        banks_after = describe_banks(tables.open("banks__colours"))
        assert banks_after["text"]["origin"] == "log"
        assert banks_after["text"]["digest"] != banks["text"]["digest"]
        assert banks_after["image"] == banks["image"]
        assert staleness.stale(workspace, None) == []
        assert tick(workspace, opened).skip_message.startswith(
            f"colours, release {after.number}: 0 queries"
        )
        # The release is now fitted on queries like these.
        log_queries(workspace, narrow_queries(1_200, seed=2))
        assert by_direction(drift.measure_drift(workspace))["text->image"].drifted is False


def test_a_refit_with_unchanged_banks_makes_no_release(workspace: Workspace) -> None:
    before = releases.latest_release(workspace.tables).number
    first = stage_record(workspace.tables, "banks")
    with dagster_home.instance(workspace) as opened:
        definitions.resolve_job_def("refit").execute_in_process(instance=opened)
    again = stage_record(workspace.tables, "banks")
    assert first is not None
    assert again is not None
    assert again["published_at"] > first["published_at"]  # drawn again
    assert releases.latest_release(workspace.tables).number == before


def test_a_dagster_schedule_deletes_old_rows_of_the_log(workspace: Workspace) -> None:
    log_queries(workspace, usual_queries(10))
    write_config(workspace.root, CONFIG + LOGGED.replace("{}", "{keep_rows: 4}"))
    workspace = Workspace.open(workspace.root)
    with dagster_home.instance(workspace) as opened:
        context = dg.build_schedule_context(instance=opened, resources={"corpus": workspace})
        assert isinstance(forgetting(context), dg.RunRequest)
        definitions.resolve_job_def("retention").execute_in_process(instance=opened)
    since = datetime(2000, 1, 1, tzinfo=UTC)
    assert query_log.count(workspace.tables, "colours", since) == 4


def test_schedules_and_sensors_by_default() -> None:
    schedules = {s.name: s for s in definitions.schedules or []}
    stopped = dg.DefaultScheduleStatus.STOPPED
    assert schedules["refresh"].default_status == stopped
    assert schedules["refresh"].job_name == "refit"
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert definitions.resolve_job_def("refit").tags[FORCE] == "banks"
