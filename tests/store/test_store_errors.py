"""A store that loses replies, delays and refuses at random: tables equal an undisturbed run's."""

import random
from pathlib import Path
from typing import Any

import lance
import pytest

from store.errors import BusyError, StoreError
from store.tables import publication, schema
from store.tables.lance_tables import Tables, quote
from store.tables.staging import begin, publish
from tests.helpers.flaky_store import FAULTS, FlakyProxy, flaky_proxy
from tests.helpers.stores import S3Server
from tests.store.test_tables import ROWS, content, rows, staged


def step(tables: Tables, chance: random.Random, number: int) -> None:
    """One random write: rows of a drop, rows by key, or a whole stage in two units."""
    drop = chance.choice("abc")
    ids = chance.sample(range(100 * "abc".index(drop), 100 * "abc".index(drop) + 40), 5)
    kind = chance.choice(["replace", "upsert", "stage"])
    if kind == "replace":
        tables.replace("rows", ROWS, rows(drop, ids), f"drop = {quote(drop)}")
    elif kind == "upsert":
        tables.upsert("rows", ROWS, rows(drop, ids), "id")
    else:
        with begin(tables, "rows", f"k{number}", ROWS, "a") as run:
            for unit, part in (("u1", ids[:2]), ("u2", ids[2:])):
                if unit not in run.done():
                    staged(run, unit, [i % 100 for i in part], failed=1)
            publish(
                tables,
                run,
                counts=run.counts(),
                entries=run.entries(),
                write=lambda: tables.replace("rows", ROWS, run.batches(), "drop = 'a'"),
                output=lambda: f"output {number}",
            )


def state(tables: Tables) -> tuple[Any, ...]:
    """All rows of all tables, except the times."""
    columns = [n for n in schema.STAGES.names if n not in ("seconds", "published_at", "resumed")]
    stages = tables.scan("stages", schema.STAGES, columns).to_pylist()
    ledger = tables.scan("ledger", schema.LEDGER).to_pylist()
    return content(tables), sorted(map(str, stages)), sorted(map(str, ledger))


def disturbed(proxy: FlakyProxy, tables: Tables, faults: int, seed: int) -> int:
    """Write through a proxy until it has injected so many faults; return the number of steps."""
    number = 0
    while proxy.injected.total() < faults:
        for _ in range(20):
            try:
                step(tables, random.Random(f"{seed} {number}"), number)
                break
            except (StoreError, BusyError):
                continue  # as a user who runs it again
        else:
            pytest.fail("a write failed 20 times")
        number += 1
    return number


@pytest.mark.parametrize(
    ("faults", "seed"), [(20, 1), pytest.param(200, 2, marks=pytest.mark.slow)]
)
def test_random_faults_leave_the_tables_of_an_undisturbed_run(
    s3: S3Server, tmp_path: Path, faults: int, seed: int
) -> None:
    root = s3.folder()
    with flaky_proxy(s3.endpoint, rate=0.15, seed=seed) as proxy:
        steps = disturbed(proxy, Tables(root, s3.options(proxy.endpoint)), faults, seed)
        assert faults < 50 or set(proxy.injected) == set(FAULTS)
    undisturbed = Tables(tmp_path)
    for number in range(steps):
        step(undisturbed, random.Random(f"{seed} {number}"), number)
    assert state(Tables(root, s3.options())) == state(undisturbed)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_commit_is_recognised_although_all_its_replies_were_lost(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    """Lance gives up after the commit was applied."""
    tables = Tables(s3.folder(), s3.options())
    tables.replace("rows", ROWS, rows("b", [9]), "drop = 'b'")
    if not is_first:
        tables.replace("rows", ROWS, rows("a", [1]), "drop = 'a'")
    commit = lance.LanceDataset.commit

    def lose(*args: Any, **settings: Any) -> lance.LanceDataset:
        commit(*args, **settings)
        raise OSError("Generic S3 error: Error performing PUT: connection closed")

    monkeypatch.setattr(lance.LanceDataset, "commit", lose)
    tables.replace("rows", ROWS, rows("a", [1, 2]), "drop = 'a'")
    assert content(tables) == {"a": [1, 2], "b": [9]}


def test_a_store_that_keeps_failing_is_one_typed_error(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(s3.folder(), s3.options())
    tables.replace("rows", ROWS, rows("a", [1]), "drop = 'a'")
    monkeypatch.setattr(publication, "_FIRST_WAIT", 0.01)
    attempts = 0

    def fail(*args: Any, **settings: Any) -> None:
        nonlocal attempts
        attempts += 1
        raise OSError("Generic S3 error: Server returned error status 503\nand more")

    monkeypatch.setattr(lance.LanceDataset, "commit", fail)
    with pytest.raises(StoreError, match=r"503$"):
        tables.replace("rows", ROWS, rows("a", [2]), "drop = 'a'")
    assert attempts == 5
    monkeypatch.undo()
    assert content(tables) == {"a": [1]}
