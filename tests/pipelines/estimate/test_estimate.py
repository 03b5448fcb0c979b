"""`isotrope estimate`: rates of earlier runs, times what the sources deliver."""

import shutil
from pathlib import Path

import pytest

from pipelines.estimate.estimate import Estimate, Rate, estimate, measured
from store.config.engine import Prices
from store.tables.stages import GLOBAL
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import deliver, write_config


@pytest.fixture(scope="module")
def grown(squares: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The corpus `squares` with one more drop, of 310 records, that has not been read."""
    root = tmp_path_factory.mktemp("grown") / "corpus"
    shutil.copytree(squares.root, root, symlinks=True)
    deliver(root / "drops" / "third", 310, first=2000)
    return Workspace.open(root)


def test_an_unread_drop_is_counted_and_measured_by_the_other_drops(grown):
    by_stage = {each.stage: each for each in estimate(grown)}
    assert list(by_stage) == ["samples", "signals", "vectors", *GLOBAL]
    records = [stage_record(grown.tables, "samples", drop) for drop in ("first", "second")]
    known = sum(done["input"] for done in records)
    seconds = sum(done["seconds"] for done in records)
    assert by_stage["samples"].input == 310
    assert by_stage["samples"].seconds == pytest.approx(310 * seconds / known)
    # Each sample has an image and a text.
    assert by_stage["vectors"].input == pytest.approx(620, rel=0.02)
    assert by_stage["decisions"].input == pytest.approx(known + 310, rel=0.02)


def test_the_size_is_that_of_the_stored_rows(grown):
    table = Path(grown.tables.uri("samples")) / "data"
    stored = sum(file.stat().st_size for file in table.iterdir())
    rate = measured(grown, "samples")
    assert rate is not None
    rows = grown.tables.open("samples").count_rows()
    assert rate.bytes * rows == pytest.approx(stored, rel=0.01)


def test_nothing_is_estimated_of_what_is_up_to_date(squares):
    assert estimate(squares) == []


def test_a_corpus_without_tables_has_counts_and_no_rates(tmp_path):
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "only", 12)
    first = estimate(Workspace.open(tmp_path))[0]
    assert (first.stage, first.input, first.rate, first.seconds) == ("samples", 12, None, None)


def test_cost_is_that_of_machines_and_disk():
    rate = Rate(seconds=0.1, kept=0.5, bytes=1e6, records=100)
    prices = Prices(machine_hour=2, gigabyte_month=0.02)
    each = Estimate("samples", 1, 36_000, rate, prices)
    assert each.seconds == pytest.approx(3600)
    assert each.bytes == pytest.approx(18e9)
    assert each.cost == pytest.approx(2 + 18 * 0.02)
