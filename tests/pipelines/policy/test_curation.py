"""From a drop to decisions: every record is accounted for, reruns replace, order is irrelevant."""

from pathlib import Path

import pyarrow.compute as pc
import pytest

from pipelines.decisions.stage import decide
from pipelines.samples import stage as samples_stage
from pipelines.samples.sample_row import sample_row
from pipelines.samples.stage import UnitWork, ingest
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.lineage import trace_record
from store.tables import schema
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, CONFIG, deliver, picture, write_config
from tests.helpers.stages import curate


def write_bad_records(drop: Path) -> dict[str, str]:
    """Write records that cannot be read; returns the rule that each breaks, by key."""
    png = picture(COLOURS["red"], 1, side=64)
    bad = {
        "cut.png": (png[: len(png) // 2], "image.truncated"),
        "text.txt": (b"\xff\xfe\x00broken", "text.encoding"),
        "empty.png": (b"", "image.empty"),
        "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image.format"),
        "blank.txt": (b"  \n", "record.empty"),
        "sound.wav": (b"RIFF\x00\x00\x00\x00WAVE", "audio.truncated"),
    }
    for name, (data, _) in bad.items():
        (drop / name).write_bytes(data)
    return {Path(name).stem: rule for name, (_, rule) in bad.items()}


def test_every_record_is_accounted_for(tmp_path: Path) -> None:
    write_config(tmp_path)
    drop = tmp_path / "drops" / "a"
    deliver(drop, 30)
    expected = write_bad_records(drop)
    (drop / "again.png").write_bytes(picture(COLOURS["red"], 0))
    (drop / "again.txt").write_text("a red square number 0")
    workspace = curate(tmp_path)
    row = stage_record(workspace.tables, "samples", "a")
    assert row is not None
    assert row["input"] == 30 + len(expected) + 1
    assert (row["kept"], row["rejected"], row["failed"]) == (30, 1, len(expected))
    ledger = workspace.tables.scan("ledger", schema.LEDGER).to_pylist()
    assert {e["key"]: e["rule"] for e in ledger if e["outcome"] == "failed"} == expected
    (repeat,) = [e for e in ledger if e["outcome"] == "rejected"]
    assert repeat["rule"] == "duplicate.in_drop"
    assert {repeat["key"], repeat["value"].split("/")[-1]} == {"again", "red-0000"}
    samples = workspace.tables.scan("samples", schema.SAMPLES, ["id", "key", "text", "image"])
    assert len(set(samples["id"].to_pylist())) == samples.num_rows == 30
    for sample in samples.to_pylist():  # the stored bytes are the delivered ones
        if sample["key"] != "again":
            assert (drop / f"{sample['key']}.png").read_bytes() == sample["image"]
            assert (drop / f"{sample['key']}.txt").read_text() == sample["text"]


def test_a_rerun_replaces_and_never_adds(tmp_path: Path) -> None:
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "a", 20)
    deliver(tmp_path / "drops" / "b", 10, first=100)
    workspace = curate(tmp_path)
    before = ids(workspace)
    version = workspace.tables.version("samples")
    curate(tmp_path)
    assert workspace.tables.version("samples") == version
    (tmp_path / "drops" / "a" / "red-0000.png").unlink()
    (tmp_path / "drops" / "a" / "red-0000.txt").unlink()
    deliver(tmp_path / "drops" / "a", 2, first=300)
    curate(tmp_path)
    after = ids(workspace)
    assert len(after) == len(before) + 1
    assert len(after & before) == len(before) - 1
    assert {d for d, _ in before - after} == {"a"}


def ids(workspace: Workspace) -> set[tuple[str, str]]:
    rows = workspace.tables.scan("samples", schema.SAMPLES, ["drop", "id"]).to_pylist()
    keys = {(r["drop"], r["id"]) for r in rows}
    assert len(keys) == len(rows)
    return keys


def test_tables_do_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    results = []
    for order in (("a", "b"), ("b", "a")):
        root = tmp_path / "".join(order)
        write_config(root)
        for name in order:
            deliver(root / "drops" / name, 20, first=0 if name == "a" else 10)
            workspace = curate(root)
        columns = ["drop", "id", "keep", "rule", "value"]
        decisions = workspace.tables.scan("decisions", schema.DECISIONS, columns)
        results.append(decisions.sort_by([("drop", "ascending"), ("id", "ascending")]))
        assert pc.sum(decisions["keep"].cast("int64")).as_py() == 30
        assert set(decisions.filter(pc.invert(decisions["keep"]))["drop"].to_pylist()) == {"b"}
    assert results[0].equals(results[1])


def test_a_new_threshold_reruns_only_decisions(tmp_path: Path) -> None:
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "a", 10)
    (tmp_path / "drops" / "a" / "large.png").write_bytes(picture(COLOURS["red"], 999, side=100))
    workspace = curate(tmp_path)
    signals_version = workspace.tables.version("signals")
    write_config(tmp_path, CONFIG.replace("min: 16", "min: 50"))
    workspace = Workspace.open(tmp_path)
    decide(StageContext(workspace))
    assert workspace.tables.version("signals") == signals_version
    kept = workspace.tables.scan("decisions", schema.DECISIONS, where="keep").num_rows
    assert kept == 1
    details = {(s.stage, s.outcome): s.detail for s in trace_record(workspace.tables, "red-0000")}
    assert details["decisions", "rejected"] == "image_min_side.min: 24, the limit is 50"


def test_an_interrupted_ingest_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path)
    drop = tmp_path / "drops" / "a"
    deliver(drop, 1200)  # three units
    workspace = Workspace.open(tmp_path)
    started: list[str] = []

    def failing(self, rows):
        started.append(self.unit.name)
        if len(set(started)) == 3:
            raise RuntimeError("interrupted")
        return real_batches(self, rows)

    real_batches = UnitWork._batches
    monkeypatch.setattr(UnitWork, "_batches", failing)
    delivered = staleness.drops(workspace)["a"]
    with pytest.raises(Exception, match="interrupted"):
        ingest(StageContext(workspace, delivered))
    assert stage_record(workspace.tables, "samples", "a") is None
    assert not workspace.tables.exists("samples")
    monkeypatch.undo()
    real, read_again = sample_row, list[str]()
    monkeypatch.setattr(
        samples_stage,
        "sample_row",
        lambda rec, limits: read_again.append(rec.key) or real(rec, limits),
    )
    counts = ingest(StageContext(workspace, delivered))
    assert counts.kept == counts.input == 1200
    assert len(ids(workspace)) == 1200
    row = stage_record(workspace.tables, "samples", "a")
    assert row is not None
    assert row["resumed"] == 2
    assert len(read_again) == (176 if started[-1] == "files-000002" else 512)


def test_a_drop_that_cannot_be_read_does_not_affect_others(tmp_path: Path) -> None:
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "a", 5)
    tar = tmp_path / "drops" / "b.tar"
    tar.write_bytes(b"not a tar file" * 100)
    workspace = curate(tmp_path)
    row = stage_record(workspace.tables, "samples", "b")
    assert row is not None
    assert (row["input"], row["kept"], row["failed"]) == (1, 0, 1)
    assert len(ids(workspace)) == 5
