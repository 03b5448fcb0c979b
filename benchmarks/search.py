"""What a compiled correction costs when it is searched: corrected beside raw, in turn.

    python benchmarks/search.py                 # 50,000 x 512, 30 queries a round

One gallery holds raw vectors with a folded bias for text queries, and moved vectors for image
queries. Answers are compared with brute force. Ratios are medians over rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import lancedb
import numpy as np
import pyarrow as pa
from fit import unit_rows

from store.corrections import Correction, fit
from store.search.corrected_search import RankedRows, WeightedInput, search_corrected
from store.search.vector_layout import fold
from store.tables.releases import Direction

DIM, TOP = 512, 10
METHODS = {"text": "nnn", "image": "invgc_local+nnn"}


def gallery(folder: str, fitted: dict[str, Correction], ways: dict[str, Direction]):
    columns = {"id": pa.array([str(i) for i in range(len(fitted["text"].bias))])}
    centre = {m: d.centre for m, d in ways.items()}
    for m, c in fitted.items():
        columns[f"bias_{m}"] = pa.array(c.bias)
        rows = fold(c.vectors, {m: c.bias}, centre)
        listed = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        columns["vector" if not ways[m].recipe.moves else f"vector_{m}"] = listed
    return lancedb.connect(folder).create_table("gallery", pa.table(columns))


def timed(work: Callable[[], RankedRows]) -> tuple[float, RankedRows]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


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
    ways = {
        m: Direction(m, "image", c.method, c.params, "", 0, centre=float(c.bias.mean()))
        for m, c in fitted.items()
    }
    queries = unit_rows(options.queries, DIM, 2)
    cases: dict[str, tuple[dict[str, float], dict[str, Direction]]] = {
        "raw": ({"text": 1.0}, {}),
        "nnn, folded": ({"text": 1.0}, ways),
        "invgc_local+nnn, moved": ({"image": 1.0}, ways),
        "both mixed, over two columns": ({"text": 0.5, "image": 0.5}, ways),
    }
    with tempfile.TemporaryDirectory() as folder:
        table = gallery(folder, fitted, ways)
        took: dict[str, list[float]] = {name: [] for name in cases}
        for number, query in enumerate([queries[0], *queries]):
            for name, (weights, active) in cases.items():
                inputs = [WeightedInput(m, query, w) for m, w in weights.items()]
                seconds, found = timed(
                    lambda i=inputs, a=active: search_corrected(table, i, a, ["id"], None, TOP)
                )
                total = sum(
                    w * (fitted[m].vectors @ query - fitted[m].bias if active else items @ query)
                    for m, w in weights.items()
                )
                best = np.sort(total)[::-1][:TOP]
                assert np.abs(found.rows["_score"].to_numpy() - best).max() < 1e-4, name
                assert found.complete, name
                if number:  # the first round warms up
                    took[name].append(seconds)
    print(f"\n{options.rows:,} x {DIM}, the best {TOP}, exact\n")
    print("| search | milliseconds | time, to raw |\n|---|---|---|")
    for name, seconds in took.items():
        ratio = statistics.median(s / r for s, r in zip(seconds, took["raw"], strict=True))
        print(f"| {name} | {1000 * statistics.median(seconds):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
