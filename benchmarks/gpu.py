"""The actor pool on a GPU: open_clip's image towers in bf16, from JPEG bytes in a Lance table.

    python benchmarks/gpu.py                    # one GPU; about ten minutes
    python benchmarks/gpu.py --tiny --samples 64      # a small model on CPUs: does it run at all?

Weights are random: speed does not depend on them. The bare loop calls the same encoder on pixels
that were decoded before, in batches of --batch, one after the other; the pool reads, decodes and
stores as well. Two actors on the GPU (`num_gpus: 0.5`) overlap the copying of the one with the
computing of the other. The GPU's busy share is what nvidia-smi says, sampled while the pool runs.
"Published" are the images a second that clip-retrieval gives for one A100, reading included.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from fit import Report
from pool import EQUAL, through_the_pool
from written import corpus, parts_of

from embedders.pool.ray_cluster import cluster
from embedders.registry import load
from store.arrays import as_matrix
from store.tables.names import vectors_table

MODELS = {"ViT-B-32": ("python:encoders:b32", 1800), "ViT-L-14": ("python:encoders:l14", 312)}
TINY = {"tiny": ("python:encoders:tiny", None)}
BFLOAT = 2e-2  # what bf16's rounding may move a unit vector's numbers by, between batch sizes
SIDE = 384


class Busy:
    """The share of time that the GPU computes, in percent, while a `with` block runs."""

    def __enter__(self) -> "Busy":
        self.shares: list[float] = []
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        self._process = subprocess.Popen(
            [*command, "-i", "0", "-lms", "200"], stdout=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.shares.append(float(line))

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._thread.join()

    @property
    def share(self) -> float:
        """The median while it was at work: what comes before the first batch does not count."""
        return statistics.median([share for share in self.shares if share > 0] or [0])


def bare(spec: str, inputs: list, batch: int) -> tuple[float, np.ndarray]:
    """Images a second of a plain loop, and its vectors."""
    encoder = load(spec)
    encoder.encode(inputs[:batch])
    start = time.perf_counter()
    made = [encoder.encode(inputs[at : at + batch]) for at in range(0, len(inputs), batch)]
    return len(inputs) / (time.perf_counter() - start), np.concatenate(made)


def measure(
    folder: Path, spec: str, samples: int, actors: int, gpu: bool, batch: int
) -> tuple[float, float, float]:
    """The pool's images a second, the bare loop's, and the GPU's busy share."""
    name = f"{spec.rpartition(':')[2]}-{actors}"
    cpus = "num_cpus: 1"
    ray = f"{cpus}, actors: {actors}, num_gpus: {1 / actors:g}" if gpu else f"{cpus}, actors: 1"
    written = corpus(folder / name, {"image": spec}, samples, SIDE, ray)
    with cluster():
        if gpu:
            with Busy() as busy:
                pooled = through_the_pool(written).rate
            share = busy.share
        else:
            pooled, share = through_the_pool(written).rate, 0.0
    encoder, parts = load(spec), parts_of(written, "image")
    some = list(parts)[: max(2 * batch, samples // 4)]
    rate, vectors = bare(spec, [encoder.prepare(parts[part]) for part in some], batch)
    table = written.tables.open(vectors_table("measured")).to_table()
    made = dict(zip(table["part_id"].to_pylist(), as_matrix(table["vector"]), strict=True))
    difference = float(np.abs(np.stack([made[part] for part in some]) - vectors).max())
    assert difference < (BFLOAT if gpu else EQUAL), difference
    return pooled, rate, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--tiny", action="store_true", help="a small model on CPUs")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    import torch

    gpu = torch.cuda.is_available() and not options.tiny
    if not gpu and not options.tiny:
        sys.exit("this needs an NVIDIA GPU; --tiny tries a small model on CPUs")
    device = torch.cuda.get_device_name() if gpu else "CPUs"
    report, rows = Report(), []
    with tempfile.TemporaryDirectory() as folder:
        for model, (spec, published) in (MODELS if gpu else TINY).items():
            for actors in (1, 2) if gpu else (1,):
                pooled, alone, share = measure(
                    Path(folder), spec, options.samples, actors, gpu, options.batch
                )
                beside = f"{published:,}" if published else ""
                ratio = f"{pooled / alone:.2f}"
                busy = f"{share:.0f}%" if gpu else ""
                rows.append([model, str(actors), f"{pooled:,.0f}", ratio, busy, beside])
    header = ["model", "actors", "images a second", "to the bare loop", "GPU busy", "published"]
    report.table(f"From JPEGs of {SIDE} pixels, on {device}", header, rows)
    if options.write:
        options.write.write_text("\n".join(report.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
