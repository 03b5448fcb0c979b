"""Writers that conflict: another tool without locks, and a writer that dies before its undo."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import lance
import pyarrow as pa
import pytest

from store.errors import BusyError
from store.tables import leases, publication
from store.tables.lance_tables import Tables
from store.tables.maintain import compact
from tests.helpers.stores import S3Server
from tests.store.test_leases import go_on, paused_publication
from tests.store.test_tables import ROWS, content, rows

# Executes lines of Python with `table`, a Lance dataset.
_OTHER_TOOL = """
import json, sys, lance
uri, options = sys.argv[1], json.loads(sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    table = lance.dataset(uri, storage_options=options)
    exec(line)
    print("done", flush=True)
"""


@contextmanager
def other_tool(tables: Tables) -> Iterator[Callable[[str], None]]:
    """Another process, which changes the table `rows` without isotrope; gives a call for it."""
    words = [sys.executable, "-c", _OTHER_TOOL, tables.uri("rows")]
    process = subprocess.Popen(
        [*words, json.dumps(tables.storage_options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    stdin, stdout = process.stdin, process.stdout
    assert stdout.readline() == "ready\n"

    def execute(line: str) -> None:
        stdin.write(line + "\n")
        stdin.flush()
        assert stdout.readline() == "done\n"

    try:
        yield execute
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "_FIRST_WAIT", 0.01)


@pytest.mark.usefixtures("quick")
def test_a_write_is_repeated_if_another_tool_changed_the_same_fragments(tables: Tables) -> None:
    tables.replace("rows", ROWS, [*rows("a", [1, 2]), *rows("b", [3, 4])], None)
    with other_tool(tables) as other:

        def meanwhile(batches: list[pa.RecordBatch], line: str) -> Iterator[pa.RecordBatch]:
            yield from batches
            other(line)

        update = "table.update({'id': 'id + 10'}, where='id = 4')"
        upserted = meanwhile(rows("c", [1, 5]), update)
        removed = pa.RecordBatch.from_pydict({"id": [2]})
        tables.upsert("rows", ROWS, upserted, "id", removed=[removed])
        assert content(tables) == {"b": [3, 14], "c": [1, 5]}

        update = "table.update({'id': 'id + 10'}, where='id = 14')"
        tables.replace("rows", ROWS, meanwhile(rows("b", [7]), update), "id = 3")
        assert content(tables) == {"b": [7, 24], "c": [1, 5]}

        # The other tool adds a key that this writer adds, and deletes a row that it replaces.
        line = (
            "import pyarrow as pa; table.delete('id = 5'); table.insert("
            "pa.table({'drop': ['x'], 'id': [8]}, schema=table.schema))"
        )
        tables.upsert("rows", ROWS, meanwhile(rows("d", [1, 5, 8]), line), "id")
        assert content(tables) == {"b": [7, 24], "d": [1, 5, 8]}


@pytest.mark.usefixtures("quick")
def test_a_writer_that_always_meets_conflicts_gives_up(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.replace("rows", ROWS, rows("a", [1, 2]), None)
    commit, attempts = lance.LanceDataset.commit, 0

    def overtake(*args: object, **settings: object) -> lance.LanceDataset:
        nonlocal attempts
        attempts += 1
        execute("table.update({'id': 'id'})")
        return commit(*args, **settings)

    with other_tool(tables) as execute:
        monkeypatch.setattr(lance.LanceDataset, "commit", overtake)
        with pytest.raises(BusyError, match="published nothing"):
            tables.upsert("rows", ROWS, rows("b", [1]), "id")
    assert attempts == publication.ATTEMPTS
    assert content(tables) == {"a": [1, 2]}


@pytest.mark.parametrize("writer", ["replace", "upsert", "maintain"])
def test_the_next_writer_finishes_the_undo_of_one_that_was_killed(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    """SIGKILL between the commit of a writer that was paused past its lease, and its undo."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(leases, "_CLOCKS_DIFFER", 0.1)
    remote = Tables(s3.folder(), s3.options())
    remote.replace("rows", ROWS, rows("b", [9]), "drop = 'b'")
    with paused_publication(remote, "committing", dies_before_undo=True) as process:
        remote.replace("rows", ROWS, rows("a", [1, 2]), "drop = 'a'")
        assert go_on(process) == ""
        assert process.returncode == -signal.SIGKILL
    assert content(remote) == {"a": [1, 1, 2, 2], "b": [9]}
    if writer == "replace":
        remote.replace("rows", ROWS, rows("c", [5]), "drop = 'c'")
    elif writer == "upsert":
        remote.upsert("rows", ROWS, rows("c", [5]), "id")
    else:
        compact(remote, "rows")
    expected = {"a": [1, 2], "b": [9]} | ({} if writer == "maintain" else {"c": [5]})
    assert content(remote) == expected
    version = remote.version("rows")
    remote.replace("rows", ROWS, [], "drop = 'nothing'")  # there is nothing left to undo
    assert remote.version("rows") == version
