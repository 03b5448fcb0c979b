"""The stage `pairs` from Lance to Lance, beside the bare products that it cannot do without.

    python benchmarks/pairs.py                  # 200,000 pairs x 512, a bank of 1,024

A corpus of images and texts is made up of random vectors. The peer multiplies as many rows by a
bank of the same size, from memory, tile by tile, and looks at nothing. A sample of the
values is compared with a dense computation.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from machine import peak, unit_rows

from pipelines.pairs.stage import measure_pairs
from pipelines.stages.context import StageContext
from store import identity
from store.corrections.kernels.threads import each
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
    """Stands for an encoder: the vectors are there already."""

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


def fill(workspace: Workspace, rows: int, dim: int) -> dict[str, np.ndarray]:
    """Samples of an image and a text each, and their vectors."""
    made = {m: unit_rows(rows, dim, seed) for seed, m in enumerate(("image", "text"))}
    made["text"] = made["text"] + made["image"]
    made["text"] /= np.linalg.norm(made["text"], axis=1, keepdims=True)
    ids = {m: [identity.part_id(m, str(n).encode()) for n in range(rows)] for m in made}
    named = [identity.sample_id(i, None, t) for i, t in zip(*ids.values(), strict=True)]
    tables = workspace.tables
    columns = {f: pa.nulls(rows, schema.SAMPLES.field(f).type) for f in schema.SAMPLES.names}
    columns |= {"drop": ["made"] * rows, "source": ["made"] * rows, "key": named, "id": named}
    columns |= {f"{m}_id": ids[m] for m in made}
    samples = pa.table(columns, schema=schema.SAMPLES)
    tables.replace("samples", schema.SAMPLES, samples.to_batches(), None)

    def vectors() -> Iterator[pa.RecordBatch]:
        for m, x in made.items():
            for start in range(0, rows, _ROWS):
                some = x[start : start + _ROWS]
                listed = pa.FixedSizeListArray.from_arrays(pa.array(some.reshape(-1)), dim)
                names = [ids[m][start : start + _ROWS], [m] * len(some), [f"made-{m}"] * len(some)]
                yield pa.RecordBatch.from_arrays(
                    [*(pa.array(n) for n in names), listed], schema=schema.vectors(dim)
                )

    tables.replace("vectors__made", schema.vectors(dim), vectors(), None)
    for stage in ("samples", "vectors"):
        with begin(tables, stage, "1", schema.SAMPLES, "made") as run:
            publish(tables, run, counts=Counts(), entries=[], write=int, output=lambda: "1")
    return made


def check(workspace: Workspace, made: dict[str, np.ndarray], bank: int) -> None:
    """The first rows against a dense computation."""
    found = workspace.tables.open("pairs__made").head(200)
    ids = workspace.tables.open("samples").to_table(columns=["id"])["id"].to_numpy()
    place = {name: row for row, name in enumerate(ids)}
    drawn = [place[name] for name in sorted(ids)[:bank]]
    mine = [place[name] for name in found["id"].to_pylist()]
    text, image = made["text"][mine], made["image"][mine]
    own, hidden = (text * image).sum(1), np.equal.outer(mine, drawn)
    others = np.where(hidden, -9, text @ made["image"][drawn].T)
    near = np.sort(others, axis=1)[:, -10:].mean(axis=1)
    rank = (others > own[:, None]).sum(1) / (~hidden).sum(1)
    np.testing.assert_allclose(found["text_image_corrected"], own - near, atol=1e-5)
    np.testing.assert_allclose(found["text_image_rank"], rank, atol=2 / bank)


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
        made = fill(workspace, options.rows, options.dim)
        bank = made["image"][: options.bank]

        def multiply(span: tuple[int, int]) -> None:
            made["text"][slice(*span)] @ bank.T

        start = time.perf_counter()
        each(multiply, options.rows, bank)
        bare = time.perf_counter() - start
        check_peak = peak()
        start = time.perf_counter()
        measure_pairs(StageContext(workspace))
        stage = time.perf_counter() - start
        check(workspace, made, options.bank)
        start = time.perf_counter()
        measure_pairs(StageContext(workspace))
        again = time.perf_counter() - start
    print(f"{options.rows:,} pairs x {options.dim}, a bank of {options.bank:,}")
    print(f"bare products: {options.rows / bare:,.0f} rows/s")
    print(f"the stage:     {options.rows / stage:,.0f} rows/s, {bare / stage:.2f} of the bare")
    print(f"where nothing has changed: {again:.1f} s; peak {peak() - check_peak:+.2f} GB")


if __name__ == "__main__":
    main()
