"""The error budget: a broken drop is not published, and its read units are not read again."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.samples.error_budget import Budget, is_clearly_over
from pipelines.samples.stage import ingest
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.config.sources import Errors
from store.errors import BudgetError, NotFoundError
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.staging import Counts, Entry, StageRun, UnitOutcome, begin, stage_record
from store.workspace import Workspace
from tests.helpers.rubbish import picture, tar_bytes

BEAM = "engine: {signals: beam}\n"


def corpus(root: Path, errors: str, good: int = 6, broken: int = 4, shards: int = 2) -> Workspace:
    """A corpus with one drop of shards, each with this many good and broken records."""
    root.mkdir(exist_ok=True)
    (root / "corpus.yaml").write_text(f"sources:\n  s: {{path: drops}}\n{BEAM}errors: {errors}\n")
    folder = root / "drops" / "a"
    if not folder.exists():
        folder.mkdir(parents=True)
        for number in range(shards):
            intact = [(f"{number}-{n}.png", picture(seed=number * 100 + n)) for n in range(good)]
            truncated = [(f"{number}-cut{n}.png", b"\x89PNG\r\n\x1a\n") for n in range(broken)]
            (folder / f"{number}.tar").write_bytes(
                tar_bytes([*intact, *truncated, ("big.png", b"x" * 99)])
            )
    return Workspace.open(root)


def ingest_drop(workspace: Workspace) -> Counts:
    return ingest(StageContext(workspace, staleness.drops(workspace)["a"]))


def test_a_drop_over_its_budget_is_not_published_and_resumes(tmp_path: Path) -> None:
    workspace = corpus(tmp_path, "{most: 0.4, least: 3}")
    with pytest.raises(BudgetError) as caught:
        ingest_drop(workspace)
    message = str(caught.value)
    assert "10 of 22 records" in message
    assert "8 image.broken, such as 0-cut0 in 0.tar" in message
    assert "2 image.format, such as big in 0.tar" in message
    assert "errors.most" in message
    assert stage_record(workspace.tables, "samples", "a") is None
    with pytest.raises(NotFoundError):
        workspace.tables.open("samples")
    counts = ingest_drop(corpus(tmp_path, "{most: 0.5, least: 3}"))
    assert (counts.input, counts.kept, counts.failed) == (22, 12, 10)
    row = stage_record(workspace.tables, "samples", "a")
    assert row is not None
    assert row["resumed"] == 2


@pytest.mark.parametrize("errors", ["{most: 0.46}", "{most: 0, least: 11}", "{}"])
def test_a_drop_within_its_budget_passes(tmp_path: Path, errors: str) -> None:
    assert ingest_drop(corpus(tmp_path, errors)).failed == 10


def test_a_source_may_have_its_own_budget(tmp_path: Path) -> None:
    corpus(tmp_path, "{most: 0, least: 1}")
    (tmp_path / "corpus.yaml").write_text(
        "sources:\n  s: {path: drops, errors: {most: 1}}\nerrors: {most: 0, least: 1}\n"
    )
    assert ingest_drop(Workspace.open(tmp_path)).failed == 10


def stage_units(run: StageRun, shares: list[float], records: int = 100) -> None:
    """Stage a unit for each share of broken records."""
    for number, share in enumerate(shares):
        broken = round(share * records)
        entries = [Entry("s", f"{number}-{n}", "image.broken", "failed") for n in range(broken)]
        outcome = UnitOutcome(records, records - broken, entries, broken)
        run.append(f"{number}", [], lambda outcome=outcome: outcome)


@pytest.mark.parametrize(
    ("shares", "stops"),
    [
        ([1.0] * 16, True),  # 16 of a thousand shards are enough
        ([1.0] * 15, False),
        ([0.35] * 20, True),
        ([0.3] * 20, False),
        ([1.0] * 5 + [0.0] * 15, False),  # a few broken shards say little about the others
        ([0.0] * 20, False),
    ],
)
def test_a_clearly_broken_drop_stops_early(
    tmp_path: Path, shares: list[float], stops: bool
) -> None:
    with begin(Tables(tmp_path), "samples", "key", schema.SAMPLES, "a") as run:
        stage_units(run, shares)
        budget = Budget(Errors(most=0.3), total=100_000)
        if stops:
            with pytest.raises(BudgetError, match=r"image\.broken"):
                budget.check_early(run)
        else:
            budget.check_early(run)


def test_a_drop_that_is_certain_to_exceed_its_budget_stops_at_once(tmp_path: Path) -> None:
    with begin(Tables(tmp_path), "samples", "key", schema.SAMPLES, "a") as run:
        stage_units(run, [0.0, 1.0, 1.0])
        Budget(Errors(most=0.2), total=1_000).check_early(run)
        with pytest.raises(BudgetError):
            Budget(Errors(most=0.2), total=999).check_early(run)


def test_drops_within_their_budget_are_hardly_ever_stopped_early() -> None:
    """A thousand random drops end exactly at their budget. At most five are stopped early."""
    rng, stopped = np.random.default_rng(0), 0
    for _ in range(1000):
        counts = rng.permutation(rng.binomial(100, rng.beta(2, 6, 64)))
        inputs, most = np.full(64, 100), counts.sum() / 6400
        stopped += any(is_clearly_over(inputs[:n], counts[:n], most) for n in range(1, 64))
    assert stopped <= 5


def test_reading_stops_when_the_budget_is_exceeded(tmp_path: Path) -> None:
    workspace = corpus(tmp_path, "{most: 0.01, least: 1}", good=0, broken=3, shards=60)
    with pytest.raises(BudgetError) as caught:
        ingest_drop(workspace)
    read = int(str(caught.value).partition("of ")[2].split()[0])
    assert 0 < read < 200
