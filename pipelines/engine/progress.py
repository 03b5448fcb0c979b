"""The progress of a stage: a bar in a terminal, otherwise a line each minute, as in a run's log.

It is read from the stage's staging, so it works with every engine.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from store.errors import IsotropeError
from store.tables.staging import StageRun

console = Console(stderr=True)
_log = logging.getLogger("isotrope.progress")
_POLL_SECONDS = 0.5
_LINE_SECONDS = 60.0


class Rate(ProgressColumn):
    """The recent rate, per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.{0 if speed >= 10 else 1}f}/s")


@contextmanager
def show_progress(
    run: StageRun, total: int, what: str = "units", done: Callable[[], int] | None = None
) -> Iterator[None]:
    """Show how far the work has come while the block runs, with rate and remaining time.

    Without a terminal, a line is logged each minute if logs are read (level INFO), and printed to
    standard error otherwise.

    Args:
        total: how many items there are.
        what: the name of the items.
        done: returns how many items are done. Default: the number of staged units.
    """
    name, count = f"{run.stage} {run.drop}", done or (lambda: len(run.done()))
    if sys.stderr.isatty():
        with _bar(name, total, what) as bar, _repeatedly(lambda: bar(count()), _POLL_SECONDS):
            yield
        return
    seen: list[tuple[float, int]] = []  # times, and what was done at them

    def write() -> None:
        seen.append((time.monotonic(), count()))
        (start, first), (now, items) = seen[0], seen[-1]
        rate = (items - first) / max(now - start, 1e-9)
        line = progress_line(name, items, total, what, rate)
        if _log.isEnabledFor(logging.INFO):
            _log.info(line)
        else:
            console.print(line, highlight=False, soft_wrap=True, markup=False)

    with _repeatedly(write, _LINE_SECONDS):
        yield


def progress_line(name: str, done: int, total: int, what: str, rate: float) -> str:
    """Such as "vectors first: 1,200 of 9,000 parts, image; 40 per second, 3 min left".

    Args:
        rate: items per second.
    """
    line = f"{name}: {done:,} of {total:,} {what}"
    if rate <= 0:
        return line
    minutes = max(total - done, 0) / rate / 60
    left = f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
    return f"{line}; {rate:,.{0 if rate >= 10 else 2}f} per second, {left} left"


@contextmanager
def _bar(name: str, total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A progress bar; what it gives sets how many items are done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def _repeatedly(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do something in a thread at intervals while the block runs."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(seconds):
            with suppress(IsotropeError):  # a store that fails for a moment is not the work's end
                action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
