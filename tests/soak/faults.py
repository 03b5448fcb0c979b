"""Faults that are injected into runs of a corpus at random moments."""

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from store.tables import schema
from tests.helpers.processes import descendants
from tests.soak.corpora import BEAM_WORKER, SoakCorpus
from tests.soak.runs import CLOCKS_DIFFER, LEASE_SECONDS, Run

_SHARE_OF_FAILED_REQUESTS = 0.1
# Arguments are separated by zeros; Beam's shell, whose command line has spaces, is no match.
_BEAM_SECONDS = 30.0  # after which a run whose worker was killed is taken to hang
_BEAM_HAS_WORK = b"Data channel established"  # in its log
_BEAM_WORKER = "-m\0apache_beam.runners.worker.sdk_worker_main"
_MOST_PAUSE = 1.0  # seconds; a process of Ray may live no longer
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

# Starts runs, disturbs them, and waits for their ends. Returns them, or None if no fault hit them.
Inject = Callable[[SoakCorpus, random.Random], list[Run] | None]


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: in the counts.
        inject: see `Inject`.
        stages: the kinds of corpora that it is for (`tests.soak.corpora`).
        stores: local, s3.
    """

    name: str
    inject: Inject
    stages: tuple[str, ...] = ("curation", "whole")
    stores: tuple[str, ...] = ("local", "s3")


def _kill_driver(corpus: SoakCorpus, chance: random.Random) -> list[Run] | None:
    run = corpus.start_and_wait(chance)
    if not run.is_alive:
        return None
    run.signal(signal.SIGKILL)
    run.end()
    return [run]


def _pause(corpus: SoakCorpus, chance: random.Random) -> list[Run] | None:
    """SIGSTOP past the lease, while another run wants to make the same stages."""
    run = corpus.start_and_wait(chance)
    if not run.is_alive:
        return None
    run.signal(signal.SIGSTOP)
    other = corpus.start()
    other.wait(LEASE_SECONDS + CLOCKS_DIFFER + chance.uniform(0, 2 * corpus.seconds))
    run.signal(signal.SIGCONT)
    run.end()
    other.end()
    return [run, other]


def _fill_disk(corpus: SoakCorpus, chance: random.Random) -> list[Run] | None:
    """For a while, no file can grow beyond some bytes: writes fail with EFBIG.

    It counts if the run failed, because a run may write nothing in the meantime.
    """
    run = corpus.start_and_wait(chance)
    with suppress(ProcessLookupError):
        size = chance.randrange(1 << 12)
        resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        run.wait(chance.uniform(0.5, corpus.seconds))
        resource.prlimit(run.pid, resource.RLIMIT_FSIZE, _UNLIMITED)
    return [run] if run.end() else None


def _writers(count: int) -> Inject:
    def start(corpus: SoakCorpus, chance: random.Random) -> list[Run]:
        runs = [corpus.start_and_wait(chance, 1 / 4) for _ in range(count)]
        for run in runs:
            run.end()
        return runs

    return start


def _fail_requests(corpus: SoakCorpus, chance: random.Random) -> list[Run] | None:
    """Replies are lost, delayed, or 503 and 429, for the whole run."""
    assert corpus.proxy is not None
    before = corpus.proxy.injected.total()
    corpus.proxy.rate = _SHARE_OF_FAILED_REQUESTS
    try:
        run = corpus.start()
        run.end()
    finally:
        corpus.proxy.rate = 0.0
    return [run] if corpus.proxy.injected.total() > before else None


def _killer(*titles: str) -> Inject:
    """SIGKILL to a random process of Ray or Beam whose command line has one of the titles."""

    def kill(corpus: SoakCorpus, chance: random.Random) -> list[Run] | None:
        run = corpus.start()
        killed = False
        pause = chance.uniform(0, _MOST_PAUSE)
        while run.is_alive and not killed:
            matches = [pid for pid, line in descendants(run.pid) if _has(line, titles)]
            if matches:
                time.sleep(pause)
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(matches), signal.SIGKILL)
                    killed = True
            time.sleep(0.05)
        run.end()
        return [run] if killed else None

    return kill


def _kill_encoder(corpus: SoakCorpus, chance: random.Random) -> list[Run] | None:
    """SIGKILL to a process that encodes. Vectors and records are deleted first: parts that have a
    vector are not encoded again."""
    tables = corpus.workspace.tables
    for name in tables.names("vectors"):
        tables.delete(name, tables.open(name).schema, "true")
    if tables.exists("stages"):
        tables.delete("stages", schema.STAGES, "true")
    return _killer("ray::EncoderActor", "pool.one_process")(corpus, chance)


def _kill_beam_worker(corpus: SoakCorpus, chance: random.Random) -> list[Run] | None:
    """SIGKILL to a worker that has work.

    Beam's local runner can wait for ever for a worker that was killed. Then the run is killed too.
    """
    with corpus.engine(BEAM_WORKER):
        run = corpus.start()
        before = run.output_size
        while run.is_alive and _BEAM_HAS_WORK not in run.output.read_bytes()[before:]:
            time.sleep(0.01)
        workers = [pid for pid, line in descendants(run.pid) if _BEAM_WORKER in line]
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if run.wait(_BEAM_SECONDS) is None:
            run.signal(signal.SIGKILL)
        run.end()
    return [run] if workers else None


def _has(line: str, titles: Iterable[str]) -> bool:
    return any(title in line for title in titles)


FAULTS = (
    Fault("kill of the driver", _kill_driver),
    Fault("pause past the lease beside another writer", _pause),
    # Only Dagster writes to the local disk if the tables are in an object store.
    Fault("full disk", _fill_disk, stores=("local",)),
    Fault("full disk", _fill_disk, ("whole",), ("s3",)),
    Fault("two writers", _writers(2)),
    Fault("three writers", _writers(3)),
    Fault("failing requests", _fail_requests, stores=("s3",)),
    Fault("kill of a Beam worker", _kill_beam_worker, ("curation",)),
    Fault("kill of an encoder", _kill_encoder, ("whole",)),
    Fault("kill of a Ray worker", _killer("ray::_do", "ray::IDLE"), ("whole",)),
    Fault("kill of the raylet", _killer("/raylet/raylet"), ("whole",)),
)
