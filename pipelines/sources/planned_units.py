"""Units of documents and videos: a parser in a child process for each file lists its records."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from posixpath import splitext

from rich.console import Console
from rich.progress import track

from pipelines.sources.documents import reader as documents
from pipelines.sources.drops import Drop
from pipelines.sources.records import Format, Planned, Unit
from pipelines.sources.videos import reader as videos
from store.config.sources import Documents, Videos

_DOCUMENTS_PER_UNIT, _VIDEOS_PER_UNIT = 16, 4


def document_units(drop: Drop, paths: Sequence[str]) -> Iterator[Unit]:
    """Units of up to 16 documents.

    Args:
        drop: that holds them and says how they are read.
        paths: of the documents, sorted.
    """
    plan = partial(documents.plan, drop.root, options=drop.documents or Documents())
    for unit in _units(drop, "pdf", "documents", paths, _DOCUMENTS_PER_UNIT, plan):
        yield replace(unit, documents=drop.documents)


def video_units(drop: Drop, paths: Sequence[str], sides: Sequence[str]) -> Iterator[Unit]:
    """Units of up to 4 videos.

    Args:
        drop: that holds them and says how they are read.
        paths: of the videos, sorted.
        sides: the files beside them, such as subtitles.
    """
    plan = partial(videos.plan, drop.root, options=drop.videos or Videos())
    by_stem: dict[str, list[str]] = {}
    for side in sides:
        by_stem.setdefault(splitext(side)[0], []).append(side)
    for unit in _units(drop, "video", "videos", paths, _VIDEOS_PER_UNIT, plan):
        own = chain.from_iterable(by_stem.get(splitext(path)[0], ()) for path in unit.paths)
        yield replace(unit, videos=drop.videos, paths=(*unit.paths, *own))


def _units(
    drop: Drop,
    format: Format,
    name: str,
    paths: Sequence[str],
    size: int,
    plan: Callable[[str], list[Planned]],
) -> Iterator[Unit]:
    """Units of `size` files, which are listed in parallel: each thread waits for a child."""
    title, console = f"listing the {name} of {drop.name}", Console(stderr=True)
    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        plans = threads.map(plan, paths)
        listed = iter(track(plans, title, total=len(paths), console=console, transient=True))
        for number, start in enumerate(range(0, len(paths), size)):
            group = tuple(paths[start : start + size])
            planned = tuple(chain.from_iterable(next(listed) for _ in group))
            unit = Unit(drop.name, f"{name}-{number:06d}", format, drop.root, group)
            yield replace(unit, planned=planned)
    finally:
        threads.shutdown(cancel_futures=True)
