"""Errors that nothing handles: one or two lines, a log with the traceback, and an exit code."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from orchestration.cli import last_resort
from orchestration.cli.main import main
from store.errors import SourceError
from tests.helpers.corpus import deliver, write_config

ROOT = Path(__file__).resolve().parents[2]
TARGET = "orchestration.runner.run_missing"


class PanicException(BaseException):
    """What pyo3 raises for a panic in Rust code."""


def run_with(error: BaseException, folder: Path, monkeypatch, *options: str) -> Result:
    """The result of `isotrope run` whose work raises an error."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(TARGET, fail)
    return CliRunner().invoke(main, ["run", "--corpus", str(folder), *options])


def with_drop(folder: Path) -> Path:
    """A corpus with one drop: the command looks for drops before the work starts."""
    write_config(folder)
    deliver(folder / "drops" / "a", 2)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return with_drop(tmp_path)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("the first line\nthe second"), "RuntimeError: the first line"),
        (PanicException("called `unwrap()`"), "PanicException: called `unwrap()`"),
        (ValueError(), "ValueError"),
        (KeyError("x" * 5000), "KeyError: '" + "x" * 299),
        (ImportError("a.so: failed to map segment"), "there is not enough memory (ImportError)"),
        (MemoryError(), "there is not enough memory (MemoryError)"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (PermissionError(13, "Permission denied", "/x"), "PermissionError: [Errno 13] Permission"),
    ],
)
def test_an_unexpected_error_takes_two_lines_and_a_log(
    corpus: Path, monkeypatch, error: BaseException, message: str
) -> None:
    result = run_with(error, corpus, monkeypatch)
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first.startswith(f"error: {message}")
    assert len(first) < 400
    (log,) = (corpus / ".isotrope" / "errors").iterdir()
    assert second == f"the full traceback is in {log}; --debug prints it"
    assert log.stat().st_mode & 0o777 == 0o600
    content = log.read_text()
    assert content.startswith("isotrope run\npython 3.")
    assert "\nlancedb " in content
    assert "Traceback (most recent call last)" in content
    assert f"{type(error).__name__}" in content.splitlines()[-1] or "second" in content


def test_the_log_has_the_causes(corpus: Path, monkeypatch) -> None:
    try:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise RuntimeError("the effect") from cause
    except RuntimeError as raised:
        run_with(raised, corpus, monkeypatch)
    (log,) = (corpus / ".isotrope" / "errors").iterdir()
    assert "KeyError: 'the cause'" in log.read_text()
    assert "RuntimeError: the effect" in log.read_text()


@pytest.mark.parametrize("arguments", [["--debug", "run"], ["run", "--debug"]])
def test_debug_prints_the_traceback(corpus: Path, monkeypatch, arguments: list[str]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(TARGET, fail)
    result = CliRunner().invoke(main, [*arguments, "--corpus", str(corpus)])
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "in fail" in result.stderr
    assert "error: RuntimeError: broken" in result.stderr


def test_an_error_of_isotrope_writes_no_log(corpus: Path, monkeypatch) -> None:
    result = run_with(SourceError("no such folder"), corpus, monkeypatch)
    assert (result.exit_code, result.stderr) == (1, "error: no such folder\n")
    assert not (corpus / ".isotrope").exists()
    result = run_with(SourceError("no such folder"), corpus, monkeypatch, "--debug")
    assert "Traceback (most recent call last)" in result.stderr


def test_a_command_without_a_corpus_logs_to_the_temporary_folder(
    tmp_path: Path, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("orchestration.cli.new_corpus.create", fail)
    result = CliRunner().invoke(main, ["init", str(tmp_path / "new"), "--from", "x"])
    assert result.exit_code == 1
    (log,) = tmp_path.glob("isotrope-*.log")
    assert str(log) in result.stderr
    assert "RuntimeError: broken" in log.read_text()


def test_an_existing_file_or_link_is_never_written_to(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("precious")
    link.symlink_to(target)
    for file in (target, link):
        with pytest.raises(FileExistsError):
            last_resort._write_new(file, "x")
    assert target.read_text() == "precious"


def test_without_any_writable_folder_the_message_stays(tmp_path: Path, monkeypatch) -> None:
    with_drop(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(last_resort, "_write_new", fail)
    result = run_with(RuntimeError("broken"), tmp_path, monkeypatch)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: RuntimeError: broken",
        "no log file could be written; --debug prints the full traceback",
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_takes_one_line(corpus: Path, monkeypatch, error: BaseException) -> None:
    result = run_with(error, corpus, monkeypatch)
    assert result.exit_code == 130
    assert result.stderr == "interrupted; the next run continues where this one stopped\n"


def test_ctrl_c_ends_the_program(corpus: Path) -> None:
    script = (
        "import signal, time, orchestration.runner\n"
        # A shell starts background jobs with the signal ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(*_, **__):\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
        "orchestration.runner.run_missing = wait\n"
        "from orchestration.cli.main import main\n"
        "main(['run'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=corpus, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.startswith("interrupted")
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/data/x"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "/data/x"),
        RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    ],
)
def test_a_full_disk_has_its_own_message(corpus: Path, monkeypatch, error: Exception) -> None:
    wrapped = RuntimeError("the step failed")
    wrapped.__cause__ = error
    for each in (error, wrapped):
        result = run_with(each, corpus, monkeypatch)
        assert result.exit_code == 1
        assert re.match(r"error: the disk is full( \(/data/x\))?: free some space", result.stderr)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 640 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=640k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("left", [0, 100, pytest.param(500, marks=pytest.mark.slow)])
def test_a_disk_that_is_really_full(small_disk: Path, left: int) -> None:
    """Dagster's databases need the first 300 KB, the tables the rest."""
    write_config(small_disk)
    deliver(small_disk / "drops" / "first", 20)
    status = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"x" * (status.f_bavail * status.f_frsize - left * 1024))
    result = subprocess.run(
        [sys.executable, "-m", "orchestration.cli.main", "run", "--corpus", str(small_disk)],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(small_disk)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "error: the disk is full" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_ray_that_cannot_be_reached(corpus: Path) -> None:
    deliver(corpus / "drops" / "first", 3)
    begin_time = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "orchestration.cli.main", "run", "--corpus", str(corpus)],
        cwd=ROOT, env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "error: no Ray cluster answers at 127.0.0.1:1: Connection refused"
    )
    assert "Traceback" not in result.stderr
    assert time.monotonic() - begin_time < 100
