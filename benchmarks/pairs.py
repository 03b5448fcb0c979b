"""Measure the stage `pairs`, from Lance to Lance, relative to the matrix products that it needs.

    python benchmarks/pairs.py                  # 200,000 pairs x 512, a bank of 1,024

The corpus of images and texts has random vectors. The baseline multiplies the same number of rows
by a bank of the same size, from memory, tile by tile, without using the products. The first 200
values are compared with a dense computation. Then 1% is added, and removed again; these seconds are
those of the processors.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from machine import peak_memory, unit_rows

from pipelines.pairs.stage import measure_pairs
from pipelines.stages.context import StageContext
from store import identity
from store.corrections.kernels.threads import for_each_span
from store.tables import schema
from store.tables.staging import Counts, begin, publish
from store.workspace import Workspace

CONFIG = """\
sources: {{made: {{path: .}}}}
pairs: {{bank: {bank}}}
space: made
spaces:
  made: {{image: "python:pairs:Image", text: "python:pairs:Text"}}
"""
_ROWS = 8192


class Image:
    """An encoder that is never called: the vectors are already stored."""

    name = fingerprint = "made-image"
    modality = "image"
    version, dim = "1", 512

    def prepare(self, raw: object) -> object:
        return raw

    def encode(self, batch: list) -> np.ndarray:
        raise NotImplementedError


class Text(Image):
    name = fingerprint = "made-text"
    modality = "text"


def make_vectors(rows: int, dim: int) -> dict[str, np.ndarray]:
    """Vectors (rows, dim) of images and of their texts."""
    vectors = {m: unit_rows(rows, dim, seed) for seed, m in enumerate(("image", "text"))}
    vectors["text"] = vectors["text"] + vectors["image"]
    vectors["text"] /= np.linalg.norm(vectors["text"], axis=1, keepdims=True)
    return vectors


def fill(workspace: Workspace, vectors: dict[str, np.ndarray], rows: int) -> None:
    """Write samples with an image and a text each, and their vectors, of the first rows."""
    vectors = {m: x[:rows] for m, x in vectors.items()}
    dim = vectors["image"].shape[1]
    ids = {m: [identity.part_id(m, str(n).encode()) for n in range(rows)] for m in vectors}
    sample_ids = [identity.sample_id(i, None, t) for i, t in zip(*ids.values(), strict=True)]
    tables = workspace.tables
    columns = {f: pa.nulls(rows, schema.SAMPLES.field(f).type) for f in schema.SAMPLES.names}
    columns |= {
        "drop": ["made"] * rows,
        "source": ["made"] * rows,
        "key": sample_ids,
        "id": sample_ids,
    }
    columns |= {f"{m}_id": ids[m] for m in vectors}
    samples = pa.table(columns, schema=schema.SAMPLES)
    tables.replace("samples", schema.SAMPLES, samples.to_batches(), None)

    def batches() -> Iterator[pa.RecordBatch]:
        for m, x in vectors.items():
            for start in range(0, rows, _ROWS):
                block = x[start : start + _ROWS]
                column = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), dim)
                n = len(block)
                keys = [ids[m][start : start + _ROWS], [m] * n, [f"made-{m}"] * n]
                yield pa.RecordBatch.from_arrays(
                    [*(pa.array(k) for k in keys), column], schema=schema.vectors(dim)
                )

    tables.replace("vectors__made", schema.vectors(dim), batches(), None)
    for stage in ("samples", "vectors"):
        with begin(tables, stage, f"{rows}", schema.SAMPLES, "made") as run:
            publish(tables, run, counts=Counts(), entries=[], write=int, output=lambda: f"{rows}")


def check(workspace: Workspace, vectors: dict[str, np.ndarray], bank: int) -> None:
    """Compare the first rows with a dense computation."""
    stored = workspace.tables.open("pairs__made").head(200)
    ids = workspace.tables.open("samples").to_table(columns=["id"])["id"].to_numpy()
    row_of = {sample_id: row for row, sample_id in enumerate(ids)}
    bank_rows = [row_of[sample_id] for sample_id in sorted(ids)[:bank]]
    rows = [row_of[sample_id] for sample_id in stored["id"].to_pylist()]
    text, image = vectors["text"][rows], vectors["image"][rows]
    own, masked = (text * image).sum(1), np.equal.outer(rows, bank_rows)
    others = np.where(masked, -9, text @ vectors["image"][bank_rows].T)
    nearest = np.sort(others, axis=1)[:, -10:].mean(axis=1)
    rank = (others > own[:, None]).sum(1) / (~masked).sum(1)
    np.testing.assert_allclose(stored["text_image_corrected"], own - nearest, atol=1e-5)
    np.testing.assert_allclose(stored["text_image_rank"], rank, atol=2 / bank)


def processor_seconds(workspace: Workspace) -> float:
    """What the stage costs, on all processors."""
    start = time.process_time()
    measure_pairs(StageContext(workspace))
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--bank", type=int, default=1024)
    options = parser.parse_args()
    Image.dim = options.dim
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "corpus.yaml").write_text(CONFIG.format(bank=options.bank))
        workspace = Workspace.open(folder)
        added = max(options.rows // 100, 1)
        vectors = make_vectors(options.rows + added, options.dim)
        fill(workspace, vectors, options.rows)
        bank = vectors["image"][: options.bank]

        def multiply(span: tuple[int, int]) -> None:
            vectors["text"][slice(*span)] @ bank.T

        start = time.perf_counter()
        for_each_span(multiply, options.rows, bank)
        products = time.perf_counter() - start
        peak_before = peak_memory()
        start = time.perf_counter()
        seconds = {"all": processor_seconds(workspace)}
        stage = time.perf_counter() - start
        check(workspace, vectors, options.bank)
        start = time.perf_counter()
        measure_pairs(StageContext(workspace))
        unchanged = time.perf_counter() - start
        for name, rows in (("1% added", options.rows + added), ("1% removed", options.rows)):
            fill(workspace, vectors, rows)
            seconds[name] = processor_seconds(workspace)
    print(f"{options.rows:,} pairs x {options.dim}, a bank of {options.bank:,}")
    print(f"products alone: {options.rows / products:,.0f} rows/s")
    print(f"the stage:      {options.rows / stage:,.0f} rows/s, {products / stage:.2f} of that")
    print(f"run again without changes: {unchanged:.1f} s")
    print("; ".join(f"{name}: {s:.2f} s" for name, s in seconds.items()) + " of the processors")
    print(f"peak memory: {peak_memory() - peak_before:+.2f} GB")


if __name__ == "__main__":
    main()
