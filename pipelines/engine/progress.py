"""The progress bar of a stage.

It is read from the stage's staging, so it works with every engine.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

from store.tables.staging import StageRun

console = Console(stderr=True)
_POLL_SECONDS = 0.5


class Rate(ProgressColumn):
    """The recent rate, per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.{0 if speed >= 10 else 1}f}/s")


@contextmanager
def show_progress(
    run: StageRun, total: int, what: str = "units", done: Callable[[], int] | None = None
) -> Iterator[None]:
    """Show a progress bar with rate and remaining time while the block runs.

    Shows nothing if standard error is not a terminal.

    Args:
        total: how many items there are.
        what: the name of the items.
        done: returns how many items are done. Default: the number of staged units.
    """
    if not sys.stderr.isatty():
        yield
        return
    count = done or (lambda: len(run.done()))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        Rate(),
        TimeRemainingColumn(),
    )
    stop = threading.Event()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{run.stage} {run.drop}", total=total)

        def poll() -> None:
            while not stop.wait(_POLL_SECONDS):
                bar.update(task, completed=count())

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
