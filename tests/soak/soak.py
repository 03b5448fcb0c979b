"""Soak: runs of small corpora with faults, which must end with the tables of an undisturbed run.

An episode has one corpus, and several faults. Each fault hits one or more runs at a random moment.
Stages that a run has made are marked as out of date, so that the next fault meets work. At the end,
one run without faults must succeed, all rows must be equal to those of an undisturbed run in a
local folder, and `isotrope check --deep` must pass.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from assets.corpus_check import check_corpus
from store.arrow import as_matrix
from store.tables import schema
from tests.helpers.flaky_store import flaky_proxy
from tests.helpers.stores import S3Server
from tests.soak.corpora import SoakCorpus, deliver_drops
from tests.soak.counts import Counts
from tests.soak.faults import FAULTS, Fault

_FAULTS_OF_EPISODE = 6
_TIMES = {"curation": 10, "whole": 1}  # how often a kind of corpora is chosen
_ATTEMPTS = 10  # to hit a run before it ends
_KEYS = (
    *("drop", "id", "part_id", "split", "stage", "key", "sample_id", "modality"),
    *("kind", "name", "number"),
)
_NOT_COMPARED = {"units", "resumed", "seconds", "published_at"}  # columns of `stages`
# Versions of tables, scores, and caches whose rows depend on which drop was made first.
_TABLES_NOT_COMPARED = {
    "releases",
    "directions__colours",
    "tallies__colours",
    "drift__colours",  # a measurement of each release
    "compared",
    "near_pairs",
    "minhashes",
}


class Soak(ExitStack):
    """Faults on small corpora. Used in a `with` block.

    Args:
        folder: for corpora.
        server: of the corpora in an object store.
        seed: of the random moments and choices.

    Attributes:
        injected: how many faults were injected, by name, kind of corpus and store.
    """

    def __init__(self, folder: Path, server: S3Server, seed: int):
        super().__init__()
        self.folder, self.server = folder, server
        deliver_drops(folder / "drops")
        self.chance, self.injected = random.Random(seed), Counts()
        self.proxy = self.enter_context(flaky_proxy(server.endpoint, 0.0, seed))
        self._undisturbed: dict[str, dict[str, pa.Table]] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        self._episodes = 0

    def run(
        self,
        plan: list[tuple[Fault, str, str]],
        after: Callable[[Counts], None] = lambda injected: None,
    ) -> None:
        """Inject faults.

        Args:
            plan: kind of fault, kind of corpus, store.
            after: called after each episode with the faults that it injected.
        """
        groups: dict[tuple[str, str], list[Fault]] = {}
        for fault, kind, store in plan:
            groups.setdefault((kind, store), []).append(fault)
        episodes = [
            (group, faults[start : start + _FAULTS_OF_EPISODE])
            for group, faults in groups.items()
            for start in range(0, len(faults), _FAULTS_OF_EPISODE)
        ]
        self.chance.shuffle(episodes)
        for (kind, store), faults in episodes:
            self.episode(kind, store, faults)
            injected = Counts((fault.name, kind, store) for fault in faults)
            self.injected += injected
            after(injected)

    def episode(self, kind: str, store: str, faults: list[Fault]) -> None:
        """Inject faults into runs of a new corpus, then compare its tables."""
        expected, seconds = self._expected(kind, store)
        corpus = self._corpus(kind, store)
        corpus.seconds = seconds
        for fault in faults:
            self._inject(corpus, fault)
        self._finish(corpus)
        actual = _content(corpus)
        assert actual.keys() == expected.keys()
        for table, rows in expected.items():
            _assert_equal(table, actual[table], rows)
        problems = [f for f in check_corpus(corpus.workspace, deep=True) if not f.passed]
        assert problems == [], "\n".join(map(str, problems))
        corpus.delete()

    def _inject(self, corpus: SoakCorpus, fault: Fault) -> None:
        for _ in range(_ATTEMPTS):
            started = time.monotonic()
            runs = fault.inject(corpus, self.chance)
            ends = [run.end() for run in runs or ()]
            took = time.monotonic() - started
            print(f"{corpus.root.name} {fault.name}: exit {ends}, {took:.1f} s", flush=True)
            if not ends or 0 in ends:
                self._make_stale(corpus)
            if runs:
                return
            # It ended before the fault: the machine is less busy than when the seconds were taken.
            corpus.seconds = min(corpus.seconds, took)
        raise AssertionError(f"{fault.name} met no run in {_ATTEMPTS} attempts")

    def _expected(self, kind: str, store: str) -> tuple[dict[str, pa.Table], float]:
        """The tables of an undisturbed run, and the seconds that it takes in the store."""
        if (kind, store) not in self._seconds:
            corpus = self._corpus(kind, store)
            self._finish(corpus)  # it imports what the server process did not
            content = _content(corpus)
            self._make_stale(corpus)
            started = time.monotonic()
            self._finish(corpus)
            self._seconds[kind, store] = time.monotonic() - started
            if store == "local":
                self._undisturbed[kind] = content
            corpus.delete()
        if kind not in self._undisturbed:
            self._expected(kind, "local")
        return self._undisturbed[kind], self._seconds[kind, store]

    def _corpus(self, kind: str, store: str) -> SoakCorpus:
        self._episodes += 1
        root = self.folder / f"{self._episodes}-{kind}-{store}"
        proxy = self.proxy if store == "s3" else None
        corpus = SoakCorpus(root, kind, proxy)
        corpus.make(self.folder / "drops", self.server)
        return corpus

    def _finish(self, corpus: SoakCorpus) -> None:
        run = corpus.start()
        assert run.end() == 0, run.output.read_text()

    def _make_stale(self, corpus: SoakCorpus) -> None:
        """Delete the records of a random drop, so that the next run has something to do."""
        drop = self.chance.choice(["first", "second"])
        where = f"drop = '{drop}' OR drop = '*'"
        corpus.workspace.tables.replace("stages", schema.STAGES, [], where)


def plan(count: int, chance: random.Random, only: str = "") -> list[tuple[Fault, str, str]]:
    """Faults, kinds of corpora and stores: quick combinations more often than slow ones.

    Args:
        count: of faults.
        chance: shuffles the combinations.
        only: a part of the names of faults, kinds or stores.
    """
    every = list(_combinations())
    if only:
        every = [each for each in every if only in f"{each[0].name} {each[1]} {each[2]}"]
    chance.shuffle(every)
    return [every[number % len(every)] for number in range(count)]


def _combinations() -> Iterator[tuple[Fault, str, str]]:
    for fault in FAULTS:
        for kind in fault.stages:
            for store in fault.stores:
                yield from [(fault, kind, store)] * _TIMES[kind]


def _content(corpus: SoakCorpus) -> dict[str, pa.Table]:
    names = set(corpus.table_names()) - _TABLES_NOT_COMPARED
    return {name: _sorted(corpus.workspace.tables.open(name).to_table()) for name in sorted(names)}


def _sorted(rows: pa.Table) -> pa.Table:
    rows = rows.drop_columns([c for c in rows.schema.names if c in _NOT_COMPARED])
    keys = [name for name in _KEYS if name in rows.schema.names]
    keys = keys or [f.name for f in rows.schema if not pa.types.is_nested(f.type)]
    return rows.sort_by([(key, "ascending") for key in keys])


def _assert_equal(table: str, actual: pa.Table, expected: pa.Table) -> None:
    """Rows are equal; vectors and biases of two runs differ in their last bits."""
    assert actual.num_rows == expected.num_rows, table
    for name in expected.schema.names:
        assert actual[name].is_null().equals(expected[name].is_null()), (table, name)
        ours, theirs = actual[name].drop_null(), expected[name].drop_null()
        if pa.types.is_fixed_size_list(theirs.type):
            assert np.allclose(as_matrix(ours), as_matrix(theirs), atol=1e-5), (table, name)
        elif pa.types.is_floating(theirs.type):
            pair = [column.to_numpy(zero_copy_only=False) for column in (ours, theirs)]
            assert np.allclose(*pair, atol=1e-5, equal_nan=True), (table, name)
        else:
            assert ours.to_pylist() == theirs.to_pylist(), (table, name)
