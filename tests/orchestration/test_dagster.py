"""Dagster with a real corpus and a real instance: runs, checks, sensors, and the web page."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from assets.checks import all_checks
from assets.materialise import FORCE
from assets.spaces import all_assets
from orchestration import dagster_home
from orchestration.definitions import VARIABLE, definitions
from orchestration.reported_tables import report_tables
from orchestration.runner import run_missing
from orchestration.sensors import changes, deliveries
from pipelines.stages import staleness
from store.errors import ConfigError, InputError, InvariantError, SourceError
from store.tables import schema
from store.tables.stages import BY_DROP, GLOBAL
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config

STAGES = [*BY_DROP, *GLOBAL]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> tuple[Workspace, list]:
    """A corpus of two drops with a release, and the steps that made it."""
    root = tmp_path_factory.mktemp("dagster")
    write_config(root, CONFIG + "engine: {prices: {machine_hour: 3600}}\n")
    deliver(root / "drops" / "first", 70)
    deliver(root / "drops" / "second", 10, first=65)
    (root / "drops" / "first" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    workspace = Workspace.open(root)
    return workspace, run_missing(workspace)


@pytest.fixture
def untouched(tmp_path: Path) -> Workspace:
    """A corpus of one drop, without tables."""
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "only", 12)
    return Workspace.open(tmp_path)


@pytest.fixture
def instance(made) -> Iterator[dg.DagsterInstance]:
    with dagster_home.instance(made[0]) as opened:
        yield opened


def materialise(workspace: Workspace, stage: str, drop: str | None, instance, **options):
    return dg.materialize(
        [*all_assets([]), *all_checks([])],
        selection=dg.AssetSelection.assets(stage),
        partition_key=drop,
        instance=instance,
        resources={"corpus": workspace},
        **options,
    )


def metadata(result: dg.ExecuteInProcessResult, stage: str) -> dict:
    (event,) = result.asset_materializations_for_node(stage)
    return {name: value.value for name, value in event.metadata.items()}


def test_definitions_hold_every_stage_and_need_no_corpus_to_load():
    found = {key.to_user_string() for key in definitions.resolve_all_asset_keys()}
    assert found == {*STAGES, "curation"}
    assert {j.name for j in definitions.resolve_all_job_defs()} >= {"drop", "corpus", "everything"}


def test_the_error_without_a_corpus_names_the_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with (
        dg.DagsterInstance.ephemeral() as ephemeral,
        pytest.raises(dg.DagsterResourceFunctionError) as raised,
    ):
        definitions.resolve_job_def("corpus").execute_in_process(instance=ephemeral)
    assert isinstance(raised.value.__cause__, ConfigError)
    assert VARIABLE in str(raised.value.__cause__)


def test_a_run_makes_every_stage_of_every_drop_in_order(made, instance):
    workspace, steps = made
    by_drop_steps = [(s.stage, s.drop) for s in steps if s.drop]
    assert by_drop_steps == [(s, d) for d in ("first", "second") for s in BY_DROP]
    assert [s.stage for s in steps if not s.drop] == list(GLOBAL)
    first = steps[0].counts
    assert (first.input, first.kept, first.failed) == (71, 70, 1)
    assert set(instance.get_dynamic_partitions("drop")) == {"first", "second"}
    assert not staleness.stale(workspace, None)
    for check in all_checks([]):
        for key in check.check_keys:
            summary = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])
            assert summary[key].status.value == "SUCCEEDED", key


def test_a_second_run_does_nothing_and_imports_no_engine(made):
    script = (
        "import sys; from store.workspace import Workspace;"
        "from orchestration.runner import run_missing;"
        f"print(run_missing(Workspace.open({str(made[0].root)!r})));"
        "print([m for m in ('dagster', 'ray', 'apache_beam', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split("\n")[:2] == ["[]", "[]"]


def test_a_table_that_is_up_to_date_is_reported_and_not_made_again(made, instance):
    workspace, _ = made
    before = workspace.tables.version("samples")
    shown = metadata(materialise(workspace, "samples", "first", instance), "samples")
    assert shown["up_to_date"] is True
    assert not {"processor_seconds", "bytes_written", "cost"} & shown.keys()
    assert (shown["input"], shown["kept"], shown["failed"]) == (71, 70, 1)
    assert "image/png;base64" in shown["outcomes"]
    assert "| image.broken | failed | 1 |" in shown["lost"]
    assert workspace.tables.version("samples") == before


def test_a_run_tagged_with_force_makes_it_again(made, instance):
    workspace, _ = made
    before = workspace.tables.version("decisions")
    result = materialise(workspace, "decisions", None, instance, tags={FORCE: "true"})
    shown = metadata(result, "decisions")
    assert shown["up_to_date"] is False
    assert workspace.tables.version("decisions") > before
    assert 0 < shown["processor_seconds"] < 60
    assert 50 < shown["peak_memory_mb"] < 10_000
    assert 1_000 < shown["bytes_written"] < 1_000_000
    # At a price of one a second, the cost is the seconds that the rate was measured with.
    assert shown["cost"] == pytest.approx(shown["input"] / shown["inputs_per_second"], rel=0.1)


def test_one_job_makes_a_drop_and_the_corpus(made, instance, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(made[0].root))
    result = definitions.resolve_job_def("everything").execute_in_process(
        partition_key="first", instance=instance
    )
    events = result.get_asset_materialization_events()
    partitions = {e.asset_key.to_user_string(): e.partition for e in events}
    assert set(partitions) == {*STAGES, "curation"}
    assert all(partitions[stage] == "first" for stage in BY_DROP)
    assert {c.passed for c in result.get_asset_check_evaluations()} == {True}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_reports_its_counts(made, instance, stage):
    drop = "first" if stage in BY_DROP else None
    shown = metadata(materialise(made[0], stage, drop, instance), stage)
    assert shown["input"] == shown["kept"] + shown["rejected"] + shown["failed"]
    images = [v for v in shown.values() if isinstance(v, str) and "data:image/png;base64," in v]
    assert bool(images) == (stage not in ("duplicates", "banks", "index"))


def test_decisions_show_excluded_groups_and_curation_writes_pages(made, instance):
    workspace, _ = made
    shown = metadata(materialise(workspace, "decisions", None, instance), "decisions")
    assert "| second | 10 | 5 | 0.5 |" in shown["kept by drop"]
    assert "| image_min_side | 24 | 24 | 24 | 0 | min 16 | 0 |" in shown["signals"]
    written = metadata(materialise(workspace, "curation", None, instance), "curation")
    assert written["page"] == str(workspace.root / "reports" / "curation.html")
    assert "image_min_side" in Path(written["page"]).read_text()
    assert "curation-second.html" in written["pages of drops"]
    assert not staleness.stale(workspace, None)


def test_a_repeated_row_fails_its_check_and_the_table_is_made_again(made, instance):
    workspace, _ = made
    tables = workspace.tables
    rows = tables.open("samples").to_table(filter="drop = 'second'").cast(schema.SAMPLES)
    doubled = pa.concat_tables([rows.slice(0, 1), rows.slice(0, 9)])
    tables.replace("samples", schema.SAMPLES, doubled.to_batches(), "drop = 'second'")
    with pytest.raises(dg.DagsterError, match="samples_unique"):
        materialise(workspace, "samples", "second", instance)
    assert staleness.stale(workspace, staleness.drops(workspace)["second"])[0] == "samples"
    assert [(s.stage, s.drop) for s in run_missing(workspace)] == [("samples", "second")]
    assert tables.open("samples").to_table(["id"], filter="drop = 'second'").num_rows == 10


def test_a_vector_with_nan_fails_its_check(made, instance):
    workspace, _ = made
    tables, name = workspace.tables, "vectors__colours"
    good = tables.open(name).to_table()
    part = tables.open("samples").to_table(["image_id"], filter="drop = 'second'")[0][0].as_py()
    row = good["part_id"].to_pylist().index(part)
    numbers = good["vector"].combine_chunks().flatten().to_numpy().reshape(good.num_rows, -1).copy()
    numbers[row, 0] = float("nan")
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), numbers.shape[1])
    columns = schema.vectors(numbers.shape[1])
    bad = good.drop_columns("vector").append_column("vector", vectors).select(columns.names)
    tables.replace(name, columns, bad.cast(columns).to_batches(), None)
    try:
        with pytest.raises(dg.DagsterError, match="vectors_sound"):
            materialise(workspace, "vectors", "second", instance)
        with pytest.raises(InvariantError, match=r"vectors of drop 'second'.*not of length 1"):
            run_missing(workspace)
    finally:
        tables.replace(name, columns, good.cast(columns).to_batches(), None)
    run_missing(workspace)
    assert not staleness.stale(workspace, None)


def test_a_lost_row_of_signals_fails_its_check(made, instance):
    workspace, _ = made
    key = workspace.tables.open("signals").to_table(["id"], filter="drop = 'second'")[0][0].as_py()
    workspace.tables.replace("signals", schema.SIGNALS, [], f"drop = 'second' AND id = '{key}'")
    with pytest.raises(dg.DagsterError, match="signals_conserved"):
        materialise(workspace, "signals", "second", instance)
    assert run_missing(workspace)[0].stage == "signals"


def test_an_error_of_a_pipeline_is_raised_unchanged(untouched, monkeypatch):
    def refuse(*_):
        raise SourceError("the disk is gone")

    monkeypatch.setattr("pipelines.samples.stage.ingest", refuse)
    with pytest.raises(SourceError, match=r"^the disk is gone$"):
        run_missing(untouched)


def test_unknown_drops_and_stages_are_refused(untouched):
    with pytest.raises(InputError, match="delivered: only"):
        run_missing(untouched, drop="onyl")
    with pytest.raises(InputError, match="stages are samples"):
        run_missing(untouched, select="sample")


@pytest.mark.slow
def test_the_run_after_a_kill_resumes_and_marks_the_killed_run_as_failed(untouched):
    script = f"""
import os, signal
from pipelines.signals import stage
from store.workspace import Workspace
from orchestration.reported_tables import report_tables
from orchestration.runner import run_missing
stage.measure = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
run_missing(Workspace.open({str(untouched.root)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    steps = run_missing(untouched, select=["samples", "signals"])
    assert [s.stage for s in steps] == ["signals"]
    with dagster_home.instance(untouched) as opened:
        states = [run.status.value for run in opened.get_runs()]
    assert states == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert not list((untouched.root / ".dagster" / "alive").iterdir())


def test_tables_are_reported_to_an_empty_log(made, tmp_path):
    copied = replace(made[0], root=tmp_path)  # the same tables, another Dagster home
    with dagster_home.instance(copied) as opened:
        dagster_home.add_partitions(copied, opened)
        assert report_tables(copied, opened) == 2 * len(BY_DROP) + len(GLOBAL)
        assert report_tables(copied, opened) == 0
        vectors = dg.AssetKey("vectors")
        assert opened.get_materialized_partitions(vectors) == {"first", "second"}


def tick(sensor, workspace: Workspace, opened: dg.DagsterInstance, cursor: str | None = None):
    with dg.build_sensor_context(
        instance=opened, cursor=cursor, resources={"corpus": workspace}
    ) as context:
        return sensor(context)


def test_a_drop_is_requested_after_two_ticks_without_changes(untouched):
    with dagster_home.instance(untouched) as opened:
        first = tick(deliveries, untouched, opened)
        assert first.dynamic_partitions_requests[0].partition_keys == ["only"]
        assert not first.run_requests
        second = tick(deliveries, untouched, opened, first.cursor)
        assert [r.partition_key for r in second.run_requests] == ["only"]
        deliver(untouched.root / "drops" / "only", 1, first=50)
        third = tick(deliveries, untouched, opened, second.cursor)
        assert not third.run_requests
        fourth = tick(deliveries, untouched, opened, third.cursor)
        assert fourth.run_requests[0].run_key != second.run_requests[0].run_key


def test_tables_that_are_up_to_date_are_not_requested(made, instance):
    workspace, _ = made
    first = tick(deliveries, workspace, instance)
    assert not first.dynamic_partitions_requests
    assert not tick(deliveries, workspace, instance, first.cursor).run_requests
    assert tick(changes, workspace, instance).skip_message == "everything is up to date"


def test_the_tables_of_all_drops_are_requested_after_those_of_a_drop(untouched):
    with dagster_home.instance(untouched) as opened:
        assert tick(changes, untouched, opened).skip_message == "no drop has been read yet"
        run_missing(untouched, select=["samples", "signals"])
        assert "waiting for vectors of drop only" in tick(changes, untouched, opened).skip_message
        run_missing(untouched, select=["vectors"])
        request = tick(changes, untouched, opened)
        assert request.tags["isotrope/stale"].startswith("pairs,duplicates")
        assert tick(changes, untouched, opened).run_key == request.run_key


def test_the_sensor_waits_for_an_unavailable_source(untouched):
    (untouched.root / "drops").rename(untouched.root / "elsewhere")
    with dagster_home.instance(untouched) as opened:
        assert "is not a folder" in tick(deliveries, untouched, opened).skip_message


@pytest.mark.slow
def test_the_web_page_makes_a_table(untouched):
    port = _free_port()
    serve = (
        # A process in the background may have been started with SIGINT ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pathlib import Path; from orchestration.dagster_web import serve;"
        "from store.workspace import Workspace;"
        f"serve(Workspace.open({str(untouched.root)!r}), '127.0.0.1', {port})"
    )
    page = subprocess.Popen([sys.executable, "-c", serve])
    try:
        _wait_until(
            lambda: "assetNodes" in _query(port, _ASSETS) and "samples" in _query(port, _ASSETS)
        )
        launched = json.loads(_query(port, _LAUNCH))["data"]["launchRun"]
        run = launched["run"]["runId"]
        _wait_until(
            lambda: (
                "SUCCESS" in _query(port, f'{{runOrError(runId: "{run}") {{...on Run{{status}}}}}}')
            )
        )
        assert staleness.stale(untouched, staleness.drops(untouched)["only"])[0] == "signals"
    finally:
        page.send_signal(signal.SIGINT)
        page.wait(180)


_ASSETS = "{assetNodes {assetKey {path}}}"
_LAUNCH = """mutation {launchRun(executionParams: {
  selector: {repositoryName: "__repository__", repositoryLocationName: "orchestration.definitions",
             jobName: "__ASSET_JOB", assetSelection: [{path: ["samples"]}]},
  executionMetadata: {tags: [{key: "dagster/partition", value: "only"}]}})
  {...on LaunchRunSuccess {run {runId}} ...on PythonError {message}}}"""


def _query(port: int, query: str) -> str:
    body = json.dumps({"query": query}).encode()
    address = f"http://127.0.0.1:{port}/graphql"
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.read().decode()
    except OSError:
        return ""


def _wait_until(condition, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited for {seconds} seconds"
        time.sleep(1)


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def test_what_runs_logged_is_deleted_from_the_disk(untouched) -> None:
    secret = "a red square that nobody may see"

    @dg.asset
    def secretive(context) -> None:
        context.log.info(secret)
        context.add_output_metadata({"seen": dg.MetadataValue.md(secret)})

    with dagster_home.instance(untouched) as opened:
        assert dg.materialize([secretive], instance=opened).success

    def holding() -> list[str]:
        home = untouched.root / ".dagster"
        paths = (path for path in home.rglob("*") if path.is_file())
        return [path.name for path in paths if secret.encode() in path.read_bytes()]

    assert holding()
    dagster_home.forget_runs(untouched)
    assert holding() == []
    with dagster_home.instance(untouched) as opened:
        assert opened.get_runs() == []
