"""Dagster's jobs with a space that embeds only what the decisions keep: new drops flow through."""

from pathlib import Path

import dagster as dg
import pytest

import isotrope
from orchestration import dagster_home
from orchestration.definitions import define
from orchestration.runner import prepare
from orchestration.sensors import changes, deliveries
from pipelines.stages import staleness
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.orchestration.test_dagster import tick
from tests.pipelines.vectors.test_chosen_samples import OTHER, TOWERS, embedded, parts_of


@pytest.mark.slow
def test_a_new_drop_flows_by_itself(tmp_path: Path, ray_cluster: None) -> None:
    rule = "image_min_side: {min: 16}\n  sample: {share: 0.5}"
    write_config(tmp_path, CONFIG.replace("image_min_side: {min: 16}", rule) + TOWERS % "kept")
    workspace = Workspace.open(tmp_path)
    jobs = define(workspace.config).resolve_job_def
    with dagster_home.instance(workspace) as opened:

        def requested_and_run() -> None:
            """What both sensors request until they request nothing more, each run key once."""
            dagster_home.add_partitions(workspace, opened)
            cursor, seen = None, set()
            for _ in range(8):
                result = tick(deliveries, workspace, opened, cursor)
                cursor = result.cursor
                for request in result.run_requests or []:
                    if request.run_key not in seen | ran:
                        seen.add(request.run_key)
                        run("drop", partition_key=request.partition_key)
                request = tick(changes, workspace, opened)
                if isinstance(request, dg.RunRequest) and request.run_key not in seen | ran:
                    seen.add(request.run_key)
                    run("corpus")
            ran.update(seen)

        def run(name: str, **options: str) -> None:
            done.append(name)
            job = jobs(name)
            assert job.execute_in_process(
                instance=opened, resources={"corpus": workspace}, **options
            ).success

        ran: set[str] = set()
        done: list[str] = []
        for number, drop in enumerate(("first", "second")):
            deliver(tmp_path / "drops" / drop, 60, first=100 * number)
            prepare(workspace)
            done.clear()
            requested_and_run()
            assert done == ["drop", "corpus"]
            rows = workspace.tables.scan("decisions", schema.DECISIONS).to_pylist()
            kept = {row["id"] for row in rows if row["keep"]}
            assert len(kept) == 30 * (number + 1)
            assert embedded(workspace) >= parts_of(workspace, kept)
            for space in workspace.spaces():
                for scope in (*staleness.drops(workspace).values(), None):
                    assert staleness.stale(space, scope) == []
            found = isotrope.connect(tmp_path, space=OTHER).search(text="a red square").limit(200)
            assert {hit["id"] for hit in found.to_list()} == kept
            logged = opened.get_materialized_partitions(dg.AssetKey(f"vectors__{OTHER}"))
            assert drop in logged
