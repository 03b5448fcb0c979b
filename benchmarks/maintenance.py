"""Search latency over 200 small drops, with and without maintenance, and while maintenance runs.

    python -m benchmarks.maintenance [ROWS] [--drops 200]

Galleries of ROWS images and texts (default 20,000). Each drop adds ten rows to both and publishes
a release, as `isotrope run` does. The first table has medians of the newest release every 20 drops,
of corpora that take turns: one that stays as it was at the start, one that is never maintained, and
one that is maintained every 20 drops, measured before and after that. The second table has searches
in this process while another process does nothing, adds drops, or adds drops and maintains the
tables after each ten.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

import isotrope
from store.search.corpus import Corpus
from store.tables import releases
from store.tables.lance_tables import Tables
from store.tables.maintain import maintain
from tests.helpers.made_release import DIM, SPACE, make_release, unit

DROP, EVERY, QUERIES = 10, 20, 60
WINDOW, ROUNDS = 4.0, 4  # seconds in which one of the activities runs; of each
ACTIVITIES = ("nothing", "drops", "drops and maintenance")
MODALITIES = ("image", "text")


def add_drop(tables: Tables, number: int) -> None:
    """Add rows to the galleries and publish a release of them."""
    last = releases.latest_release(tables)
    versions = dict(last.versions)
    for modality in MODALITIES:
        name = last.gallery(modality)
        rows = tables.open(name).to_table(limit=DROP)
        for column in ("part_id", "id", "cluster", "key"):
            values = pa.array([f"{column}-{number}-{each}" for each in range(DROP)])
            rows = rows.set_column(rows.schema.get_field_index(column), rows.field(column), values)
        versions[name] = tables.upsert(name, rows.schema, rows.to_batches(), "part_id")
    kept = ("space", "space_config", "dim", "fingerprints", "banks")
    kept += ("directions", "evaluation", "policy", "indexes")
    releases.publish(tables, versions=versions, **{name: getattr(last, name) for name in kept})


def search(corpus: Corpus, query: np.ndarray) -> float:
    """The seconds of one search."""
    start = time.perf_counter()
    corpus.search(vectors={"text": query}).among("image").limit(10).to_list()
    return time.perf_counter() - start


def medians(corpora: list[Corpus]) -> list[float]:
    """Milliseconds of a search in each corpus. They take turns."""
    queries = unit(np.random.default_rng(1), QUERIES)
    seconds = [[search(corpus, query) for corpus in corpora] for query in queries]
    return [1e3 * statistics.median(column) for column in zip(*seconds, strict=True)]


def over_drops(folder: Path, rows: int, drops: int) -> None:
    start = make_release(folder / "start", rows).corpus
    tables = {name: Tables(folder / name) for name in ("never", "maintained")}
    for each in tables.values():
        make_release(Path(each.root), rows)
    shown = Table(
        "drops", "start, ms", "never maintained, ms", "before, ms", "after, ms", "fragments"
    )
    for number in range(1, drops + 1):
        for each in tables.values():
            add_drop(each, number)
        if number % EVERY:
            continue
        before = [isotrope.open_corpus(each.root) for each in tables.values()]
        pieces = [
            len(each.open(f"gallery__{SPACE}__image").get_fragments()) for each in tables.values()
        ]
        list(maintain(tables["maintained"], timedelta(0)))
        add_drop(tables["maintained"], drops + number)
        after = tables["maintained"].open(f"gallery__{SPACE}__image").get_fragments()
        corpora = [start, *before, isotrope.open_corpus(tables["maintained"].root)]
        times = [f"{ms:.1f}" for ms in medians(corpora)]
        shown.add_row(str(number), *times, f"{pieces[0]}, {pieces[1]}, {len(after)}")
    Console().print(shown)


def change(root: str, activity: Event, maintaining: Event, stop: Event) -> None:
    """Add drops while `activity` is set, and maintain the tables after each ten."""
    tables, numbers = Tables(root), count(10_000)
    while not stop.is_set():
        if not activity.wait(0.1):
            continue
        for _ in range(10):
            add_drop(tables, next(numbers))
        if maintaining.is_set():
            list(maintain(tables))


def windows(corpus: Corpus, activity: Event, maintaining: Event) -> Iterator[tuple[str, float]]:
    """(activity of the other process, seconds) of searches."""
    queries = unit(np.random.default_rng(2), 1000)
    for _ in range(ROUNDS):
        for name in ACTIVITIES:
            (activity.set if name != "nothing" else activity.clear)()
            (maintaining.set if "maintenance" in name else maintaining.clear)()
            time.sleep(1)  # the other process ends what it does
            end = time.monotonic() + WINDOW
            for query in queries:
                yield name, search(corpus, query)
                if time.monotonic() > end:
                    break
    activity.clear()


def beside_maintenance(folder: Path, rows: int) -> None:
    make_release(folder, rows)
    context = get_context("spawn")
    activity, maintaining, stop = (context.Event() for _ in range(3))
    other = context.Process(target=change, args=(str(folder), activity, maintaining, stop))
    other.start()
    measured: dict[str, list[float]] = {name: [] for name in ACTIVITIES}
    for name, seconds in windows(isotrope.open_corpus(folder), activity, maintaining):
        measured[name].append(1e3 * seconds)
    stop.set()
    other.join()
    shown = Table("the other process does", "searches", "median, ms", "95%, ms")
    for name, ms in measured.items():
        shown.add_row(name, str(len(ms)), *(f"{np.quantile(ms, q):.1f}" for q in (0.5, 0.95)))
    Console().print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("rows", type=int, nargs="?", default=20_000)
    parser.add_argument("--drops", type=int, default=200)
    options = parser.parse_args()
    print(f"galleries of up to {options.rows:,} rows of {DIM} dimensions")
    with tempfile.TemporaryDirectory() as folder:
        over_drops(Path(folder), options.rows, options.drops)
        beside_maintenance(Path(folder, "busy"), options.rows)


if __name__ == "__main__":
    main()
