"""Measure the cost of a compiled correction at search time, relative to raw search.

    python benchmarks/search.py                 # 50,000 x 512, 30 queries

One gallery holds raw vectors with a folded bias for text queries, and moved vectors for image
queries. Raw and corrected searches take turns, and the results are compared with brute force. The
table shows medians over the queries.

The second table compares a batch that is scanned together with the same queries one by one.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import TypeVar

import lance
import numpy as np
import pyarrow as pa
from machine import unit_rows

from store.corrections import Correction, fit
from store.search.column_plan import WeightedInput
from store.search.corrected_search import search_corrected, search_many
from store.search.open_gallery import OpenGallery
from store.search.vector_layout import fold
from store.tables.direction import Direction

T = TypeVar("T")
DIM, TOP = 512, 10
BATCHES, ROUNDS = (1, 16, 64), 5
METHODS = {"text": "nnn", "image": "invgc_local+nnn"}


def make_gallery(folder: str, fitted: dict[str, Correction], directions: dict[str, Direction]):
    """A table with the columns that a corrected search reads."""
    columns = {"id": pa.array([str(i) for i in range(len(fitted["text"].bias))])}
    for m, c in fitted.items():
        columns[f"bias_{m}"] = pa.array(c.bias)
        rows = fold(c.vectors, {m: c.bias}, directions)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        columns["vector" if not directions[m].recipe.moves else f"vector_{m}"] = vectors
    return OpenGallery(lance.write_dataset(pa.table(columns), f"{folder}/gallery.lance"))


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=30)
    options = parser.parse_args()
    items, bank = unit_rows(options.rows, DIM, 0), unit_rows(2_000, DIM, 1)
    fitted = {
        m: fit(method, gallery=items, query_bank=bank, gallery_bank=items[:2_000])
        for m, method in METHODS.items()
    }
    directions = {
        m: Direction(m, "image", c.method, c.params, "", 0, centre=float(c.bias.mean()))
        for m, c in fitted.items()
    }
    queries = unit_rows(options.queries, DIM, 2)
    cases: dict[str, tuple[dict[str, float], dict[str, Direction]]] = {
        "raw": ({"text": 1.0}, {}),
        "nnn, folded": ({"text": 1.0}, directions),
        "invgc_local+nnn, moved": ({"image": 1.0}, directions),
        "both mixed, over two columns": ({"text": 0.5, "image": 0.5}, directions),
    }
    with tempfile.TemporaryDirectory() as folder:
        table = make_gallery(folder, fitted, directions)
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for number, query in enumerate([queries[0], *queries]):
            for name, (weights, active) in cases.items():
                inputs = [WeightedInput(m, query, w) for m, w in weights.items()]
                elapsed, result = timed(
                    lambda i=inputs, a=active: search_corrected(table, i, a, ["id"], None, TOP)
                )
                scores = sum(
                    w * (fitted[m].vectors @ query - fitted[m].bias if active else items @ query)
                    for m, w in weights.items()
                )
                best = np.sort(scores)[::-1][:TOP]
                assert np.abs(result.rows["_score"].to_numpy() - best).max() < 1e-4, name
                assert result.complete, name
                if number:  # the first round is a warm-up
                    seconds[name].append(elapsed)
        batches = compare_batches(table, directions)
    print(f"\n{options.rows:,} x {DIM}, top {TOP}, exact\n")
    print("| search | milliseconds | time relative to raw |\n|---|---|---|")
    for name, runs in seconds.items():
        ratio = statistics.median(s / r for s, r in zip(runs, seconds["raw"], strict=True))
        print(f"| {name} | {1000 * statistics.median(runs):.0f} | {ratio:.2f} |")
    print("\n| queries in a batch | one by one, ms | together, ms | ratio |\n|---|---|---|---|")
    for size, (single, together) in batches.items():
        ratio = statistics.median(s / t for s, t in zip(single, together, strict=True))
        milliseconds = [1000 * statistics.median(runs) for runs in (single, together)]
        print(f"| {size} | {milliseconds[0]:.0f} | {milliseconds[1]:.0f} | {ratio:.1f} |")


def compare_batches(
    table: OpenGallery, directions: dict[str, Direction]
) -> dict[int, tuple[list[float], list[float]]]:
    """Seconds of each round, one by one and together, by the size of the batch."""
    seconds: dict[int, tuple[list[float], list[float]]] = {size: ([], []) for size in BATCHES}
    for number in range(ROUNDS + 1):
        for size, (single, together) in seconds.items():
            batch = [
                [WeightedInput("text", query, 1.0)] for query in unit_rows(size, DIM, 3 + number)
            ]
            alone, one_by_one = timed(
                lambda b=batch: [
                    search_corrected(table, inputs, directions, ["id"], None, TOP) for inputs in b
                ]
            )
            joint, at_once = timed(
                lambda b=batch: search_many(table, b, directions, ["id"], None, TOP)
            )
            for one, other in zip(one_by_one, at_once, strict=True):
                assert one.rows["id"] == other.rows["id"]
                scores = one.rows["_score"].to_numpy() - other.rows["_score"].to_numpy()
                assert np.abs(scores).max() < 1e-5
                assert other.complete
            if number:  # the first round is a warm-up
                single.append(alone)
                together.append(joint)
    return seconds


if __name__ == "__main__":
    main()
