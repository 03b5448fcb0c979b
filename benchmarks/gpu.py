"""Measure the actor pool on a GPU: image towers of open_clip in bfloat16, on JPEGs from Lance.

    python benchmarks/gpu.py                    # one GPU; about ten minutes
    python benchmarks/gpu.py --price 2.5              # dollars per million images, at this price
    python benchmarks/gpu.py --tiny --samples 1024    # a small model on CPUs, to test the script

Weights are random, because speed does not depend on them. The plain loop calls the same encoder on
decoded pixels, in batches of --batch; the pool also reads, decodes and stores. Two actors on one
GPU (`num_gpus: 0.5`) overlap the copying of one with the computing of the other. The share of time
that the GPU is busy comes from nvidia-smi, sampled while the pool runs. The column "published" has
the images per second that clip-retrieval publishes for one A100, reading included.
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
from pool import EQUAL, embed_with_pool
from synthetic_corpus import make_corpus, parts_of

from embedders.pool.ray_cluster import cluster
from embedders.registry import load_encoder
from store.arrow import as_matrix
from store.tables.names import vectors_table

MODELS = {"ViT-B-32": ("python:encoders:b32", 1800), "ViT-L-14": ("python:encoders:l14", 312)}
TINY = {"tiny": ("python:encoders:tiny", None)}
BFLOAT = 2e-2  # largest difference of a unit vector between batch sizes, by bfloat16 rounding
SIDE = 384


class GpuMonitor:
    """Samples the share of time that the GPU computes, in percent, while a `with` block runs."""

    def __enter__(self) -> "GpuMonitor":
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
        """Median of the samples above zero, which leaves out the time before the first batch."""
        return statistics.median([share for share in self.shares if share > 0] or [0])


def embed_in_loop(spec: str, inputs: list, batch: int) -> tuple[float, np.ndarray]:
    """Images per second of a plain loop, and its vectors."""
    encoder = load_encoder(spec)
    encoder.encode(inputs[:batch])
    start = time.perf_counter()
    vectors = [encoder.encode(inputs[i : i + batch]) for i in range(0, len(inputs), batch)]
    return len(inputs) / (time.perf_counter() - start), np.concatenate(vectors)


def measure(
    folder: Path, spec: str, samples: int, actors: int, gpu: bool, batch: int
) -> tuple[float, float, float]:
    """Images per second of the pool and of the loop, and the busy share of the GPU in percent."""
    name = f"{spec.rpartition(':')[2]}-{actors}"
    cpus = "num_cpus: 1"
    ray = f"{cpus}, actors: {actors}, num_gpus: {1 / actors:g}" if gpu else f"{cpus}, actors: 1"
    workspace = make_corpus(folder / name, {"image": spec}, samples, SIDE, ray)
    with cluster():
        if gpu:
            with GpuMonitor() as monitor:
                pool_rate = embed_with_pool(workspace).rate
            share = monitor.share
        else:
            pool_rate, share = embed_with_pool(workspace).rate, 0.0
    encoder, parts = load_encoder(spec), parts_of(workspace, "image")
    sample = list(parts)[: max(2 * batch, samples // 4)]
    inputs = [encoder.prepare(parts[part]) for part in sample]
    loop_rate, vectors = embed_in_loop(spec, inputs, batch)
    table = workspace.tables.open(vectors_table("measured")).to_table()
    stored = dict(zip(table["part_id"].to_pylist(), as_matrix(table["vector"]), strict=True))
    difference = float(np.abs(np.stack([stored[part] for part in sample]) - vectors).max())
    assert difference < (BFLOAT if gpu else EQUAL), difference
    return pool_rate, loop_rate, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--tiny", action="store_true", help="a small model on CPUs")
    parser.add_argument("--price", type=float, help="of an hour of the machine, in dollars")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    import torch

    gpu = torch.cuda.is_available() and not options.tiny
    if not gpu and not options.tiny:
        sys.exit("this benchmark needs an NVIDIA GPU; use --tiny to run a small model on CPUs")
    device = torch.cuda.get_device_name() if gpu else "CPUs"
    report, rows = Report(), []
    with tempfile.TemporaryDirectory() as folder:
        for model, (spec, published) in (MODELS if gpu else TINY).items():
            for actors in (1, 2) if gpu else (1,):
                pool_rate, loop_rate, share = measure(
                    Path(folder), spec, options.samples, actors, gpu, options.batch
                )
                reference = f"{published:,}" if published else ""
                ratio = f"{pool_rate / loop_rate:.2f}"
                busy = f"{share:.0f}%" if gpu else ""
                cost = (
                    f"{options.price / 3600 * 1e6 / pool_rate:.2f}"
                    if options.price and pool_rate
                    else ""
                )
                rows.append([model, str(actors), f"{pool_rate:,.0f}", ratio, busy, cost, reference])
    dollars = "dollars per million images"
    header = ["model", "actors", "images/s", "relative to the loop", "GPU busy", dollars]
    header.append("published")
    report.table(f"JPEGs of {SIDE} pixels, on {device}", header, rows)
    if options.write:
        options.write.write_text("\n".join(report.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
