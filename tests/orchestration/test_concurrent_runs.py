"""Two runs of one corpus at once: the second waits, and makes nothing again."""

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from assets import materialise
from orchestration.runner import run_missing
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.tables import schema
from store.tables.staging import stage_lock, stage_record
from store.workspace import Workspace
from tests.helpers.corpus import deliver, write_config
from tests.helpers.stages import build


def test_a_run_that_waited_for_a_stage_does_not_make_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "only", 4)
    first, second = Workspace.open(tmp_path), Workspace.open(tmp_path)
    build("samples", StageContext(first, staleness.drops(first)["only"]))
    record = stage_record(first.tables, "samples", "only")
    first.tables.replace("stages", schema.STAGES, [], None)
    is_waiting, steps = threading.Event(), []

    def lock_name(stage: str, drop: str) -> str:
        is_waiting.set()
        return stage_lock(stage, drop)

    monkeypatch.setattr(materialise, "stage_lock", lock_name)
    thread = threading.Thread(target=lambda: steps.extend(run_missing(second, select="samples")))
    with first.tables.lock(stage_lock("samples", "only")):
        thread.start()
        assert is_waiting.wait(120)
        rows = pa.Table.from_pylist([record], schema=schema.STAGES)  # the first run ends
        first.tables.replace("stages", schema.STAGES, rows.to_batches(), None)
    thread.join()
    assert stage_record(second.tables, "samples", "only") == record
    assert [step.stage for step in steps] == ["samples"]
