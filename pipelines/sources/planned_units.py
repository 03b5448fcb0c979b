"""Units of documents: a parser in a child process for each file lists their records."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain

from rich.console import Console
from rich.progress import track

from pipelines.sources.documents import reader as documents
from pipelines.sources.drops import Drop
from pipelines.sources.records import Unit
from store.config.sources import Documents

_FILES_PER_UNIT = 16


def document_units(drop: Drop, paths: list[str], options: Documents) -> Iterator[Unit]:
    """Units of up to 16 documents.

    Args:
        drop: that holds them.
        paths: of the documents, sorted.
        options: how they are read.
    """
    plan = partial(documents.plan, drop.root, options=options)
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # each waits for a child process
        plans = iter(
            track(
                threads.map(plan, paths),
                f"listing the documents of {drop.name}",
                total=len(paths),
                console=Console(stderr=True),
                transient=True,
            )
        )
        for number, start in enumerate(range(0, len(paths), _FILES_PER_UNIT)):
            group = tuple(paths[start : start + _FILES_PER_UNIT])
            planned = tuple(chain.from_iterable(next(plans) for _ in group))
            yield Unit(
                drop.name,
                f"documents-{number:06d}",
                "pdf",
                drop.root,
                group,
                planned=planned,
                documents=options,
            )
