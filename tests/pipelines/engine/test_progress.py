"""Without a terminal, a stage says from time to time how far it has come."""

import logging
import time
from itertools import count
from types import SimpleNamespace

import pytest

from pipelines.engine import progress
from pipelines.engine.progress import progress_line, show_progress


def work_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.02)
    run, numbers = SimpleNamespace(stage="vectors", drop="[first]"), count(0, 10)
    with show_progress(run, 1000, "parts, image", lambda: next(numbers)):  # type: ignore[arg-type]
        time.sleep(0.2)


def test_lines_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    logging.getLogger("isotrope.progress").setLevel(logging.WARNING)
    work_for_a_while(monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert lines[0] == "vectors [first]: 0 of 1,000 parts, image"
    assert lines[1].startswith("vectors [first]: 10 of 1,000 parts, image; ")
    assert lines[1].endswith(" left")


def test_lines_are_logged_where_logs_are_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys
) -> None:
    with caplog.at_level(logging.INFO, "isotrope.progress"):
        work_for_a_while(monkeypatch)
    assert "vectors [first]: 10 of 1,000 parts, image; " in caplog.messages[1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("done", "rate", "expected"),
    [
        (0, 0.0, "pairs *: 0 of 9,000 units"),
        (1200, 40.0, "pairs *: 1,200 of 9,000 units; 40 per second, 3 min left"),
        (1200, 0.5, "pairs *: 1,200 of 9,000 units; 0.50 per second, 4.3 h left"),
        (9500, 2000.0, "pairs *: 9,500 of 9,000 units; 2,000 per second, 0 min left"),
    ],
)
def test_a_line(done: int, rate: float, expected: str) -> None:
    assert progress_line("pairs *", done, 9000, "units", rate) == expected
