"""Progress of a stage, read from its staging: it works whatever engine does the work."""

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


class Rate(ProgressColumn):
    """How many a second of late."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.{0 if speed >= 10 else 1}f}/s")


@contextmanager
def watch(
    run: StageRun, total: int, what: str = "units", done: Callable[[], int] | None = None
) -> Iterator[None]:
    """Show how many of `total` are done, how fast and how much longer, until the block ends;
    silent off a terminal.

    Args:
        done: how many; the staged units where it is not given.
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
            while not stop.wait(0.5):
                bar.update(task, completed=count())

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
