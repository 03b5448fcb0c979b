"""Progress of a stage, read from its staging: it works whatever engine does the work."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from store.stage import StageRun

console = Console(stderr=True)


@contextmanager
def watch(run: StageRun, total: int, what: str = "units") -> Iterator[None]:
    """Show how many of `total` units are staged until the block ends; silent off a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeRemainingColumn(),
    )
    stop = threading.Event()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{run.stage} {run.drop}", total=total)

        def poll() -> None:
            while not stop.wait(0.5):
                bar.update(task, completed=len(run.done()))

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
