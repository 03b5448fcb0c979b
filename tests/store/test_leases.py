"""Locks have one holder, and a writer that was paused past its lease publishes nothing twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store.errors import BusyError
from store.tables import leases, publication
from store.tables.lance_tables import Tables
from tests.store.test_tables import ROWS, content, rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of half a second."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(leases, "_CLOCKS_DIFFER", 0.1)


def number(tables: Tables, name: str) -> int:
    """The fencing number of a lease."""
    return json.loads(tables.files.read(f"_locks/{name}.json"))["number"]


def test_a_lease_is_renewed_while_it_is_held(short: None, remote: Tables) -> None:
    with remote.lock("rows"):
        time.sleep(1.2)
        other = Tables(remote.root, remote.files.options)
        with pytest.raises(BusyError, match=f"process {os.getpid()} on"), other.lock("rows", 0):
            pass
        remote._locks.check()
        with remote.lock("rows", 0):  # of the same thread
            assert number(remote, "rows") == 1
    with remote.lock("rows", 0):  # it was released
        assert number(remote, "rows") == 2


def test_a_lease_that_nobody_renews_ends(short: None, remote: Tables) -> None:
    dead = leases.Lease(remote.files, "rows", 1, None)
    assert dead.renew()
    with pytest.raises(BusyError), remote.lock("rows", 0):
        pass
    other = Tables(remote.root, remote.files.options)
    with remote.lock("rows", 5):
        assert number(remote, "rows") == 2
        with pytest.raises(BusyError, match="was paused for longer"):
            dead.check()
        dead.release()  # must not end the lease of the other holder
        with pytest.raises(BusyError), other.lock("rows", 0):
            pass


def test_one_of_many_processes_gets_a_lease(short: None, remote: Tables) -> None:
    holders, most = 0, 0
    mutex = threading.Lock()

    def work() -> None:
        nonlocal holders, most
        for _ in range(5):
            with remote.lock("rows", 60):
                with mutex:
                    holders += 1
                    most = max(most, holders)
                time.sleep(0.01)
                with mutex:
                    holders -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert number(remote, "rows") == 20


_PUBLISH = """
import os, pickle, signal, sys, time
from store.errors import BusyError
from store.tables import commits, leases, publication
from store.tables.publication import Publication
from tests.store.test_tables import ROWS, rows
leases.LEASE_SECONDS, leases._CLOCKS_DIFFER = 0.5, 0.1
tables = pickle.loads(bytes.fromhex(sys.argv[1]))
moment = sys.argv[2]

def pause(*_):
    print("paused", flush=True)
    sys.stdin.readline()

def batches():
    yield from rows("a", [1, 2])
    if moment == "writing":
        pause()

if moment == "committing":  # after the last look at the lock
    check = Publication.commit
    def commit(self, dataset, operation):
        pause()
        object.__setattr__(self, "check", lambda: None)
        return check(self, dataset, operation)
    Publication.commit = commit
if sys.argv[3] == "dies":
    publication._remove_rows = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
try:
    tables.replace("rows", ROWS, batches(), "drop = 'a'")
except BusyError as error:
    print("busy", error)
else:
    print("published")
"""


@contextmanager
def paused_publication(
    tables: Tables, moment: str, dies_before_undo: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A process that publishes drop a and is stopped by SIGSTOP in the middle of it."""
    import pickle

    end = "dies" if dies_before_undo else "undoes"
    process = subprocess.Popen(
        [sys.executable, "-c", _PUBLISH, pickle.dumps(tables).hex(), moment, end],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "paused\n"
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


def go_on(process: subprocess.Popen[str]) -> str:
    """Let the process go on to its end; return what it printed."""
    process.send_signal(signal.SIGCONT)
    printed, _ = process.communicate("\n")
    return printed


@pytest.mark.parametrize("moment", ["writing", "committing"])
def test_a_writer_that_is_paused_past_its_lease_publishes_nothing_twice(
    short: None, remote: Tables, moment: str
) -> None:
    remote.replace("rows", ROWS, rows("b", [9]), "drop = 'b'")
    with paused_publication(remote, moment) as process:
        remote.replace("rows", ROWS, rows("a", [1, 2]), "drop = 'a'")
        assert content(remote) == {"a": [1, 2], "b": [9]}
        assert go_on(process).startswith("busy")
    assert content(remote) == {"a": [1, 2], "b": [9]}
    remote.replace("rows", ROWS, rows("a", [3]), "drop = 'a'")  # the table is usable
    assert content(remote) == {"a": [3], "b": [9]}


@pytest.mark.parametrize("moment", ["writing", "committing"])
def test_a_paused_writer_keeps_a_local_lock(tmp_path: Path, moment: str) -> None:
    tables = Tables(tmp_path)
    tables.replace("rows", ROWS, rows("b", [9]), "drop = 'b'")
    with paused_publication(tables, moment) as process:
        with pytest.raises(BusyError, match=f"process {process.pid} on"), tables.lock("rows", 1):
            pass
        assert go_on(process) == "published\n"
    tables.replace("rows", ROWS, rows("a", [1, 2]), "drop = 'a'")
    assert content(tables) == {"a": [1, 2], "b": [9]}


def test_no_commit_while_another_lease_is_lost(short: None, remote: Tables) -> None:
    """A stage holds a lease of its own. A commit to a table checks it too."""
    with remote.lock("run-stage"):
        (held,) = remote._locks.held.values()
        assert isinstance(held, leases.Lease)
        held._released.set()  # it is not renewed any more, as in a process that is paused
        time.sleep(0.8)
        thief = leases.Lease(remote.files, "run-stage", 2, remote.files.read_tagged(PATH)[1])
        assert thief.renew()
        with pytest.raises(BusyError, match="was paused for longer"):
            remote.replace("rows", ROWS, rows("a", [1]), "drop = 'a'")
    assert content(remote) == {}


PATH = "_locks/run-stage.json"


def test_scopes_overlap() -> None:
    overlap = publication._overlap
    assert overlap("drop = 'a'", "drop = 'a'")
    assert overlap("drop = 'a'", publication.ALL_ROWS)
    assert overlap(publication.ALL_ROWS, publication.ALL_ROWS)
    assert not overlap("drop = 'a'", "drop = 'b'")
    assert not overlap(publication.ALL_ROWS, publication.NO_ROWS)
