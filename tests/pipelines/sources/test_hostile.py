"""Drops with broken and hostile records of every kind and format: no record is lost."""

import tracemalloc
from pathlib import Path

import pytest

from embedders.media.image import read_image
from pipelines.samples.stage import ingest
from pipelines.signals.stage import measure
from pipelines.sources.read import count_records
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.config.limits import Limits
from store.lineage import trace_record
from store.workspace import Workspace
from tests.helpers.planted import (
    gif_of,
    plant_folder,
    plant_lines,
    plant_media,
    plant_table,
    plant_tar,
)
from tests.helpers.rubbish import bad_rules, gzipped, read_items, shard, tar_bytes

HONEST = {"tars": 480, "files": 720, "rows": 640, "table": 640, "lines": 640, "media": 5}


@pytest.mark.timeout(280)
def test_every_record_of_a_hostile_drop_is_accounted_for(tmp_path: Path) -> None:
    source = tmp_path / "delivered"
    expected_rules = {
        "tars": plant_tar(source / "tars" / "shard.tar", HONEST["tars"]),
        "files": plant_folder(source / "files", HONEST["files"]),
        "rows": plant_table(source / "rows.parquet", HONEST["rows"], "parquet"),
        "table": plant_table(source / "table.lance", HONEST["table"], "lance"),
        "lines": plant_lines(source / "lines", HONEST["lines"]),
        "media": plant_media(source / "media"),
    }
    assert 0.04 < sum(map(len, expected_rules.values())) / sum(HONEST.values()) < 0.06
    (tmp_path / "corpus.yaml").write_text(
        "sources:\n  s: {path: delivered, documents: {pages: 20}, videos: {}}\n"
        "engine: {signals: beam}\n"
    )
    workspace = Workspace.open(tmp_path)
    drops = staleness.drops(workspace)
    assert set(drops) == set(expected_rules)
    for name, drop in drops.items():
        counts = ingest(StageContext(workspace, drop))
        after_damage = {"tars": 1}.get(name, 0)  # the sample after the damaged section
        assert counts.input == counts.kept + counts.rejected + counts.failed
        assert counts.kept == HONEST[name] + after_damage, name
        assert counts.input == counts.kept + len(expected_rules[name]), name
        measure(StageContext(workspace, name))
    for row in workspace.tables.open("stages").to_table().to_pylist():
        assert row["input"] == row["kept"] + row["rejected"] + row["failed"]

    ledger = workspace.tables.open("ledger").to_table().to_pylist()
    rules = {(row["drop"], row["key"]): row["rule"] for row in ledger if row["stage"] == "samples"}
    for name, expected in expected_rules.items():
        for key, rule in expected.items():
            assert rules.pop((name, key)).startswith(rule), (name, key)
    assert rules == {}
    for name in expected_rules:  # one in nine, since each `trace_record` scans every table
        for key, rule in list(expected_rules[name].items())[::9]:
            steps = [s for s in trace_record(workspace.tables, key) if s.drop == name]
            assert [(s.stage, s.outcome in ("failed", "rejected")) for s in steps] == [
                ("samples", True)
            ]
            assert steps[0].detail.startswith(rule)
    keys = workspace.tables.open("samples").to_table(columns=["key"])["key"].to_pylist()
    assert sum("honest" in key for key in keys) == sum(HONEST.values())


def test_only_the_first_frame_of_a_gif_is_decoded(tmp_path: Path) -> None:
    data = gif_of(100_000)
    tracemalloc.start()
    assert read_image(data, Limits()).format == "gif"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_gzip_bomb_is_read_in_little_memory(tmp_path: Path) -> None:
    data = gzipped(tar_bytes([("a.txt", b"A."), ("bomb.png", bytes(100 << 20)), ("b.txt", b"B.")]))
    assert len(data) < 1 << 20
    unit = shard(tmp_path, data, "s.tar.gz")
    tracemalloc.start()
    items = read_items(unit)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000
    assert bad_rules(items) == [("bomb", "image.bytes")]
    assert count_records(unit) == 3
