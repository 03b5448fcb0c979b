"""Vectors that are stored as float16: what they cost in recall, and save in bytes and seconds.

    python -m benchmarks.half_vectors FEATURES [ROWS]

FEATURES is the file `clip_coco500.npy`: CLIP vectors of 500 images and their captions. Without ROWS
the gallery is the 500 images, and the queries are the captions; with ROWS, both are grown from them
(`benchmarks.grown_gallery`). `vectors`: the vectors and banks are rounded to float16 before the
correction is fitted, as with `vectors: float16` in corpus.yaml. `gallery`: served vectors, which
hold the biases, are rounded too. Overlap is the share of the exact top ten of float32; recall@1 is
of an image of the query's own pair. The scan is an exact search for one query in Lance; the error
is that of Lance's scores against products of the stored vector and the float32 query.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.grown_gallery import BANK, TOP, grow, unit
from store.arrow import vector_column
from store.corrections import fit
from store.search.vector_layout import BIAS_SCALE, fold, query_vector
from store.tables.direction import Direction

METHODS = ("none", "nnn", "dual_inverted_softmax", "invgc_local+nnn")
QUERIES, SCANS = 500, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("rows", type=int, nargs="?")
    options = parser.parse_args()
    if options.rows is None:
        items, queries = (unit(x.astype(np.float32)) for x in np.load(options.features))
        topics = wanted = np.arange(len(items))
    else:
        items, _, topics = grow(options.features, options.rows, 0)
        _, queries, wanted = grow(options.features, QUERIES, 2)
    bank_items, bank_texts, _ = grow(options.features, BANK, 1)
    shown = Table("correction", "stored as float16", "overlap@10", "recall@1, float32", "recall@1")
    for method in METHODS:
        exact = top(served(method, items, bank_items, bank_texts), queries)
        rounded = served(method, *(half(x) for x in (items, bank_items, bank_texts)))
        for name, rows in (("vectors", rounded[0]), ("gallery", half(rounded[0]))):
            best = top((rows, *rounded[1:]), queries)
            same = np.mean([len(set(a) & set(b)) / TOP for a, b in zip(best, exact, strict=True)])
            hits = [np.mean(topics[x[:, 0]] == wanted) for x in (exact, best)]
            shown.add_row(method, name, f"{same:.4f}", *(f"{h:.3f}" for h in hits))
    Console().print(shown)
    scan(served("nnn", items, bank_items, bank_texts), queries)


def half(rows: np.ndarray) -> np.ndarray:
    """Rows rounded to float16, as float32."""
    return rows.astype(np.float16).astype(np.float32)


def served(
    method: str, items: np.ndarray, bank_items: np.ndarray, bank_texts: np.ndarray
) -> tuple[np.ndarray, Direction]:
    """The served vectors of a correction, and its direction."""
    c = fit(method, gallery=items, query_bank=bank_texts, gallery_bank=bank_items)
    centre = float(c.bias.mean())
    direction = Direction(
        "text", "image", c.method, c.params, "", 0, centre=centre, scale=BIAS_SCALE
    )
    return fold(np.asarray(c.vectors), {"text": c.bias}, {"text": direction}), direction


def top(gallery: tuple[np.ndarray, Direction], queries: np.ndarray) -> np.ndarray:
    """The best rows (n, TOP) of each query."""
    rows, direction = gallery
    asked = np.stack([query_vector(q, {"text": 1.0}, {"text": direction}) for q in queries])
    return np.argsort(-(asked @ rows.T), axis=1, kind="stable")[:, :TOP]


def scan(gallery: tuple[np.ndarray, Direction], queries: np.ndarray) -> None:
    """Show bytes and milliseconds of a scan, by the type that served vectors are stored in."""
    rows, direction = gallery
    shown = Table("served vectors", "bytes a row", "scan, ms", "largest error")
    with tempfile.TemporaryDirectory() as folder:
        kinds = {name: rows.astype(name) for name in ("float32", "float16")}
        opened = {}
        for name, stored in kinds.items():
            table = pa.table({"vector": vector_column(stored)})
            opened[name] = lance.write_dataset(table, Path(folder, name))
        times: dict[str, list[float]] = {name: [] for name in kinds}
        errors = dict.fromkeys(kinds, 0.0)
        for query in queries[:SCANS]:
            for name, dataset in opened.items():
                asked = query_vector(query, {"text": 1.0}, {"text": direction})
                nearest = {
                    "column": "vector",
                    "q": asked,
                    "k": TOP,
                    "metric": "dot",
                    "use_index": False,
                }
                start = time.perf_counter()
                best = dataset.scanner(columns=["_rowid", "_distance"], nearest=nearest).to_table()
                times[name].append(1e3 * (time.perf_counter() - start))
                products = kinds[name][best["_rowid"].to_numpy()].astype(np.float32) @ asked
                error = np.abs(1 - best["_distance"].to_numpy() - products).max()
                errors[name] = max(errors[name], float(error))
        for name in kinds:
            files = Path(folder, name, "data").iterdir()
            size = sum(file.stat().st_size for file in files) / len(rows)
            milliseconds = f"{statistics.median(times[name]):.1f}"
            shown.add_row(name, f"{size:,.0f}", milliseconds, f"{errors[name]:.1e}")
    Console().print(shown)


if __name__ == "__main__":
    main()
