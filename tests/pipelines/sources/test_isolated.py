"""Parsers in child processes: what each way to fail costs, and what a child may do."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipelines.sources.isolated.parent import MAX_DEATHS, Program, parse
from store.errors import RecordError

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Program("tests.helpers.fragile", "fragile", 1000, 20, 60, 1 << 30)


@pytest.fixture
def items(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"content")

    def run(*acts: str, program: Program = PROGRAM, **request) -> list:
        return list(parse(program, str(tmp_path), "file", {"acts": acts, **request}))

    return run


def shown(items: list) -> list:
    """The number of each message, the rule of each error."""
    return [i.rule if isinstance(i, RecordError) else i.fields["number"] for i in items]


def test_messages_come_in_order_with_their_bytes(items):
    result = items("", "", "")
    assert shown(result) == [0, 1, 2]
    assert result[2].blobs == [b"\x02", b"xx"]


@pytest.mark.parametrize(
    ("act", "rule"),
    [
        ("crash", "fragile.crashed"),
        ("exit", "fragile.crashed"),
        ("lie", "fragile.crashed"),
        ("memory", "fragile.memory"),
        ("raise", "fragile.unexpected"),
        ("refuse", "fragile.refused"),
        ("write", "fragile.unreadable"),
    ],
)
def test_a_failure_costs_its_own_result(items, act, rule):
    assert shown(items("", act, "", act, "")) == [0, rule, 2, rule, 4]


@pytest.mark.parametrize("act", ["hang", "spin"])
def test_a_result_has_a_time_limit(items, act):
    result = items("", act, "", program=replace(PROGRAM, result_seconds=0.3))
    assert shown(result) == [0, "fragile.seconds", 2]
    assert (result[1].value, result[1].threshold) == (0.3, 0.3)  # it rejects the record


def test_a_file_has_a_time_limit_and_its_end_is_said(items):
    started = time.monotonic()
    result = items("", *["spin"] * 9, program=replace(PROGRAM, seconds=2))
    assert shown(result) == [0, "fragile.seconds"]
    assert "the whole file" in result[1].error
    assert time.monotonic() - started < 25


def test_a_file_that_kills_every_child_is_given_up(items):
    assert shown(items(*["crash"] * 20)) == ["fragile.crashed"] * MAX_DEATHS


def test_a_crash_names_its_signal(items):
    (error,) = items("crash")
    assert "SIGSEGV" in error.error


def test_children_get_no_credentials(items, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (message,) = items("")
    assert "AWS_SECRET_ACCESS_KEY" not in message.fields["environment"]


def test_no_child_stays_when_the_reader_stops(items, tmp_path):
    before = set(psutil.Process().children())  # those of other tests
    results = parse(PROGRAM, str(tmp_path), "file", {"acts": ["", "hang"]})
    next(results)
    (child,) = set(psutil.Process().children()) - before
    results.close()
    assert not child.is_running()


def test_no_child_stays_when_the_parent_is_killed(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    code = (
        "from tests.pipelines.sources.test_isolated import PROGRAM, parse\n"
        "import psutil\n"
        f"items = parse(PROGRAM, {str(tmp_path)!r}, 'file', {{'acts': ['', 'spin']}})\n"
        "next(items)\n"
        "print(psutil.Process().children()[0].pid, flush=True)\n"
        "next(items)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone == [child]


def test_files_that_are_empty_or_too_large_start_no_child(items, tmp_path):
    assert shown(items("", program=replace(PROGRAM, largest=3))) == ["fragile.bytes"]
    os.truncate(tmp_path / "file", 0)
    assert shown(items("")) == ["fragile.empty"]
    (tmp_path / "file").unlink()
    assert shown(items("")) == ["file.unreadable"]


def test_a_remote_file_is_copied(items):
    import fsspec

    fsspec.filesystem("memory").pipe("/drop/file", b"content")
    result = list(parse(PROGRAM, "memory://drop", "file", {"acts": [""]}))
    assert shown(result) == [0]
