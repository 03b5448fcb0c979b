"""A plan reads the records of the stages once, and each folder of a source once or twice."""

import tarfile
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.planning import record, record_all, write_records
from orchestration.cli.main import main
from orchestration.runner import run_missing
from pipelines.sources import filesystem
from pipelines.stages import staleness
from pipelines.stages.snapshot import Snapshot
from store.tables.lance_tables import Tables
from store.tables.stage_records import StageRecords
from store.tables.stages import BY_DROP, EVERY_DROP
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG


def corpus(root: Path, drops: int, kind: str) -> Workspace:
    """A corpus whose stages count as made: the records alone are written."""
    (root / "corpus.yaml").write_text(CONFIG)
    for number in range(drops):
        folder = root / ("drops" if kind == "folders" else "files") / f"drop{number:03d}"
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(f"caption {number}")
        if kind == "tars":
            (root / "drops").mkdir(exist_ok=True)
            with tarfile.open(root / "drops" / f"drop{number:03d}.tar", "w") as tar:
                tar.add(folder / "a.txt", "a.txt")
    workspace = Workspace.open(root)
    record_all(workspace)
    return workspace


@pytest.mark.parametrize("kind", ["folders", "tars"])
def test_the_number_of_reads_does_not_grow_with_the_drops(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter = Counter()
    open_table, list_folder = Tables.open, filesystem._Local.entries

    def counted_open(self, name, *args, **kwargs):
        counts[name] += 1
        return open_table(self, name, *args, **kwargs)

    def counted_listing(self, folder):
        counts["listings"] += 1
        return list_folder(self, folder)

    made = {n: tmp_path / str(n) for n in (3, 12)}
    for drops, root in made.items():
        root.mkdir()
        corpus(root, drops, kind)
    monkeypatch.setattr(Tables, "open", counted_open)
    monkeypatch.setattr(filesystem._Local, "entries", counted_listing)
    reads = {}
    for drops, root in made.items():
        counts.clear()
        assert run_missing(Workspace.open(root)) == []
        reads[drops] = dict(counts)
    assert reads[3]["stages"] == reads[12]["stages"] <= 2  # the other one looks for migrations
    per_drop = {"folders": 2, "tars": 0}[kind]
    assert reads[12]["listings"] - reads[3]["listings"] == per_drop * 9


def test_a_plan_finds_the_one_changed_drop(tmp_path: Path) -> None:
    workspace = corpus(tmp_path, 4, "folders")
    (tmp_path / "drops" / "drop002" / "b.txt").write_text("another caption")
    snapshot = Snapshot(workspace)
    stale = {
        name: staleness.stale(workspace, drop, snapshot)
        for name, drop in staleness.drops(workspace).items()
    }
    assert stale == {"drop000": [], "drop001": [], "drop002": list(BY_DROP), "drop003": []}
    assert staleness.stale(workspace, None, snapshot) == []


def test_records_are_refreshed_by_drop(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    rows = [record(s, d, "1") for s in ("samples", "signals") for d in ("a", "it's")]
    rows.append(record("decisions", EVERY_DROP, "1"))
    write_records(tables, rows)
    records = StageRecords.read(tables)
    assert records.drops("samples") == ["a", "it's"]
    assert records.outputs("signals") == [("a", "signals of a"), ("it's", "signals of it's")]
    write_records(tables, [record("samples", "a", "2"), record("samples", "it's", "2")])
    records.refresh(tables, "it's")
    assert records.get("samples", "it's")["run_key"] == "2"
    assert records.get("signals", "it's") is None
    assert records.get("samples", "a")["run_key"] == "1"  # of another drop
    records.refresh(tables)
    assert records.get("decisions") is None
    assert records.get("samples", "a")["run_key"] == "1"


@pytest.mark.parametrize(("drops", "shown"), [(10, "drop009"), (11, "11 drops")])
def test_the_counts_of_many_drops_are_summed(drops: int, shown: str, tmp_path: Path) -> None:
    corpus(tmp_path, drops, "folders")
    result = CliRunner().invoke(main, ["run", "--corpus", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "everything is up to date" in result.output
    rows = [line for line in result.output.splitlines() if "signals" in line]
    assert len(rows) == (drops if drops == 10 else 1)
    assert shown in rows[-1]
