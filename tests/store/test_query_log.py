"""The query log is opt-in, holds only vectors, is safe for concurrent writers, and expires."""

import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import isotrope
from store.config import corrections
from store.search import query_log
from store.search.query_log import QueryLog
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.names import query_log_table
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, CONFIG, ColourText, picture, write_config

FINGERPRINTS = {"text": "words@1", "image": "pixels@1"}


def vector(mark: bytes = b"") -> np.ndarray:
    """A random vector (8,) whose bytes begin with `mark` (at most 32 bytes)."""
    numbers = np.random.default_rng().normal(size=8).astype(np.float32)
    return np.frombuffer(mark + numbers.tobytes()[len(mark) :], np.float32)


def log_at(tables: Tables, moment: datetime, *vectors: np.ndarray) -> None:
    """Write rows that were logged at `moment`."""
    columns = schema.query_log(8)
    rows = [
        {"asked_at": moment, "space": "s", "fingerprint": "f", "modality": "text", "vector": v}
        for v in vectors
    ]
    batches = pa.Table.from_pylist(rows, schema=columns).to_batches()
    tables.replace(query_log_table("s"), columns, batches, "false")


def files_with(tables: Tables, mark: bytes) -> list[Path]:
    files = [p for p in Path(tables.root).rglob("*") if p.is_file()]
    return [p for p in files if mark in p.read_bytes()]


@pytest.fixture
def logging_corpus(squares: Workspace, tmp_path: Path) -> Path:
    """The folder of a copy of the squares' corpus, with a query log."""
    import shutil

    shutil.copytree(squares.root / "tables", tmp_path / "tables")
    write_config(tmp_path, CONFIG + "query_log: {keep_days: 7}\n")
    return tmp_path


class Stopped(datetime):
    """A clock that shows one moment."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime(2026, 1, 1, tzinfo=tz)


def test_queries_of_one_moment_have_times_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_log, "datetime", Stopped)
    log = QueryLog(Tables(tmp_path / "tables"), corrections.QueryLog())
    for _ in range(3):
        log.add("s", {}, {"text": np.ones(2, np.float32), "image": np.ones(2, np.float32)})
    times = [row.asked_at for row in log._buffer]
    log.close()
    assert [times.count(time) for time in sorted(set(times))] == [2, 2, 2]


def test_logging_is_opt_in(squares: Workspace) -> None:
    corpus = isotrope.connect(squares.root)
    corpus.search(text="a red square number 3").run()
    corpus.close()
    assert not squares.tables.exists(query_log_table("colours"))


def test_only_vectors_are_logged(logging_corpus: Path) -> None:
    corpus = isotrope.connect(logging_corpus)
    text = "a red square number 3"
    corpus.search(text=text).run()
    corpus.search(text=text, image=picture(COLOURS["red"], 5), weights=[0.7, 0.3]).run()
    assert not corpus.tables.exists(query_log_table("colours"))  # buffered
    corpus.close()
    rows = query_log.read(corpus.tables, "colours")
    assert rows.schema.names == ["asked_at", "space", "fingerprint", "modality", "vector"]
    assert sorted(rows["modality"].to_pylist()) == ["image", "text", "text"]
    assert set(rows["fingerprint"].to_pylist()) == {"colour-text@1", "colour-image@1"}
    np.testing.assert_array_equal(rows["vector"][0].as_py(), ColourText().encode([text])[0])
    log = Tables(logging_corpus / "tables" / "query_log__colours.lance")
    assert not files_with(log, text.encode())


def test_rows_are_written_at_exit(logging_corpus: Path) -> None:
    script = (
        "import isotrope;"
        f"corpus = isotrope.connect({str(logging_corpus)!r});"
        "corpus.search(text='a red square number 3').run()"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0
    assert done.stderr == ""
    assert query_log.read(Tables(logging_corpus / "tables"), "colours").num_rows == 1


def test_concurrent_processes_lose_no_rows(tmp_path: Path) -> None:
    script = f"""
import numpy as np
from store.config import corrections as config
from store.search.query_log import QueryLog
from store.tables.lance_tables import Tables
from store.tables.names import query_log_table
log = QueryLog(Tables({str(tmp_path)!r}), config.QueryLog())
for number in range(500):
    log.add("s", {FINGERPRINTS!r}, {{"text": np.full(8, number, np.float32)}})
"""
    root = Path(__file__).resolve().parents[2]
    started = [subprocess.Popen([sys.executable, "-c", script], cwd=root) for _ in range(2)]
    assert [process.wait(120) for process in started] == [0, 0]
    rows = query_log.read(Tables(tmp_path), "s")
    numbers = np.stack(rows["vector"].to_pylist())[:, 0]
    np.testing.assert_array_equal(np.sort(numbers), np.repeat(np.arange(500), 2))


def test_expired_rows_are_deleted_from_the_disk(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    now, mark = datetime.now(UTC), b"an expired vector"
    log_at(tables, now - timedelta(days=8), vector(mark), vector())
    log_at(tables, now - timedelta(days=6), vector(), vector())
    assert files_with(tables, mark)
    settings = corrections.QueryLog(keep_days=7)
    assert query_log.read(tables, "s", settings).num_rows == 2  # expired rows are not read
    assert query_log.delete_expired(tables, "s", settings) == 2
    assert not files_with(tables, mark)
    assert query_log.read(tables, "s", settings).num_rows == 2
    assert query_log.delete_expired(tables, "s", settings) == 0
    assert query_log.count(tables, "s", now - timedelta(days=7)) == 2


def test_only_the_newest_rows_are_kept(tmp_path: Path) -> None:
    tables, mark = Tables(tmp_path), b"the oldest vector of all"
    now = datetime.now(UTC)
    for age in range(20, 0, -1):
        oldest = mark if age == 20 else b""
        log_at(tables, now - timedelta(minutes=age), vector(oldest))
    assert query_log.delete_expired(tables, "s", corrections.QueryLog(keep_rows=5)) == 15
    assert not files_with(tables, mark)
    kept = query_log.read(tables, "s")["asked_at"].to_pylist()
    assert kept[0] == now - timedelta(minutes=5)


def test_logging_deletes_expired_rows(tmp_path: Path) -> None:
    tables, mark = Tables(tmp_path), b"an expired vector"
    log_at(tables, datetime.now(UTC) - timedelta(days=8), vector(mark))
    log = QueryLog(tables, corrections.QueryLog(keep_days=7))
    log.add("s", FINGERPRINTS, {"text": vector()})
    log.close()
    assert not files_with(tables, mark)
    assert query_log.read(tables, "s").num_rows == 1


def test_a_log_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file where the folder should be")
    log = QueryLog(Tables(tmp_path / "tables"), corrections.QueryLog(keep_rows=100))
    log.add("s", FINGERPRINTS, {"text": vector()})
    with pytest.warns(UserWarning, match="queries are not being logged"):
        log.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(200):
            log.add("s", FINGERPRINTS, {"text": vector()})
    (tmp_path / "tables").unlink()
    log.close()  # the newest rows were still in the buffer
    assert query_log.read(log.tables, "s").num_rows == 100
