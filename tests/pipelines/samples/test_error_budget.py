"""The error budget: a broken drop is not published, and what was read of it is not read again."""

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
from store.tables.staging import Counts, Entry, StageRun, UnitOutcome, begin, record
from store.workspace import Workspace
from tests.helpers.rubbish import picture, tar_bytes

BEAM = "engine: {signals: beam}\n"


def corpus(root: Path, errors: str, good: int = 6, broken: int = 4, shards: int = 2) -> Workspace:
    """A drop of shards of which each has so many records that are whole, or broken."""
    root.mkdir(exist_ok=True)
    (root / "corpus.yaml").write_text(f"sources:\n  s: {{path: drops}}\n{BEAM}errors: {errors}\n")
    folder = root / "drops" / "a"
    if not folder.exists():
        folder.mkdir(parents=True)
        for number in range(shards):
            whole = [(f"{number}-{n}.png", picture(seed=number * 100 + n)) for n in range(good)]
            cut = [(f"{number}-cut{n}.png", b"\x89PNG\r\n\x1a\n") for n in range(broken)]
            (folder / f"{number}.tar").write_bytes(
                tar_bytes([*whole, *cut, ("big.png", b"x" * 99)])
            )
    return Workspace.open(root)


def ingested(workspace: Workspace) -> Counts:
    return ingest(StageContext(workspace, staleness.drops(workspace)["a"]))


def test_a_drop_over_its_budget_is_not_published_and_resumes(tmp_path: Path) -> None:
    workspace = corpus(tmp_path, "{most: 0.4, least: 3}")
    with pytest.raises(BudgetError) as caught:
        ingested(workspace)
    said = str(caught.value)
    assert "10 of 22 records" in said
    assert "8 image.broken, such as 0-cut0 in 0.tar" in said
    assert "2 image.format, such as big in 0.tar" in said
    assert "errors.most" in said
    assert record(workspace.tables, "samples", "a") is None
    with pytest.raises(NotFoundError):
        workspace.tables.open("samples")
    counts = ingested(corpus(tmp_path, "{most: 0.5, least: 3}"))
    assert (counts.input, counts.kept, counts.failed) == (22, 12, 10)
    row = record(workspace.tables, "samples", "a")
    assert row is not None
    assert row["resumed"] == 2


@pytest.mark.parametrize("errors", ["{most: 0.46}", "{most: 0, least: 11}", "{}"])
def test_a_drop_within_its_budget_passes(tmp_path: Path, errors: str) -> None:
    assert ingested(corpus(tmp_path, errors)).failed == 10


def test_a_source_has_a_budget_of_its_own(tmp_path: Path) -> None:
    corpus(tmp_path, "{most: 0, least: 1}")
    (tmp_path / "corpus.yaml").write_text(
        "sources:\n  s: {path: drops, errors: {most: 1}}\nerrors: {most: 0, least: 1}\n"
    )
    assert ingested(Workspace.open(tmp_path)).failed == 10


def staged(run: StageRun, shares: list[float], records: int = 100) -> None:
    for number, share in enumerate(shares):
        lost = round(share * records)
        entries = [Entry("s", f"{number}-{n}", "image.broken", "failed") for n in range(lost)]
        outcome = UnitOutcome(records, records - lost, entries, lost)
        run.append(f"{number}", [], lambda outcome=outcome: outcome)


@pytest.mark.parametrize(
    ("shares", "stops"),
    [
        ([1.0] * 16, True),  # of a thousand shards, sixteen are enough
        ([1.0] * 15, False),
        ([0.35] * 20, True),
        ([0.3] * 20, False),
        ([1.0] * 5 + [0.0] * 15, False),  # a few broken shards tell little of the rest
        ([0.0] * 20, False),
    ],
)
def test_a_clearly_broken_drop_stops_early(
    tmp_path: Path, shares: list[float], stops: bool
) -> None:
    with begin(Tables(tmp_path), "samples", "key", schema.SAMPLES, "a") as run:
        staged(run, shares)
        budget = Budget(Errors(most=0.3), total=100_000)
        if stops:
            with pytest.raises(BudgetError, match=r"image\.broken"):
                budget.look(run)
        else:
            budget.look(run)


def test_what_is_sure_to_be_over_stops_at_once(tmp_path: Path) -> None:
    with begin(Tables(tmp_path), "samples", "key", schema.SAMPLES, "a") as run:
        staged(run, [0.0, 1.0, 1.0])
        Budget(Errors(most=0.2), total=1_000).look(run)
        with pytest.raises(BudgetError):
            Budget(Errors(most=0.2), total=999).look(run)


def test_honest_drops_are_not_stopped_by_their_first_shards() -> None:
    """Of a thousand drops that end within their budget, by a little, next to none stop early."""
    chooser, stopped = np.random.default_rng(0), 0
    for _ in range(1000):
        counts = chooser.permutation(chooser.binomial(100, chooser.beta(2, 6, 64)))
        inputs, most = np.full(64, 100), counts.sum() / 6400
        stopped += any(is_clearly_over(inputs[:n], counts[:n], most) for n in range(1, 64))
    assert stopped <= 5


def test_nothing_is_read_on_once_the_budget_is_spent(tmp_path: Path) -> None:
    workspace = corpus(tmp_path, "{most: 0.01, least: 1}", good=0, broken=3, shards=60)
    with pytest.raises(BudgetError) as caught:
        ingested(workspace)
    read = int(str(caught.value).partition("of ")[2].split()[0])
    assert 0 < read < 200
