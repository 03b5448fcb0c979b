"""Measure the signals of images: the pipeline on all cores, relative to a plain loop.

    python benchmarks/signals.py                      # 9,000 JPEGs of 640 x 480
    python benchmarks/signals.py --engine beam        # Beam's local runner instead of Ray tasks

The loop decodes the same bytes from memory and computes the same values. The pipeline reads the
images from Lance and writes its rows to staging. Both take turns, and their values are compared.
The loop runs in one process, and then in as many parallel processes as there are cores: cores that
share caches, or that other programs use, are slower than one core alone. Processor time is that of
all processes, including those of Ray; it hardly varies if other programs use the machine.
"""

import argparse
import io
import multiprocessing
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
from PIL import Image

from assets.metadata.usage import measured
from embedders.pool.ray_cluster import cluster
from pipelines.engine.beam import run_on_beam
from pipelines.engine.ray_tasks import run_on_ray
from pipelines.policy.cascade import plan_of
from pipelines.signals.decoded_image import measure_image
from pipelines.signals.incremental import EarlierSignals
from pipelines.signals.registry import DEFAULT_SCORERS
from pipelines.signals.scorer import ImageScorer
from pipelines.signals.stage import UnitWork, _name, _Plan
from pipelines.signals.units import list_units
from pipelines.stages.scorer_versions import scorer_versions
from store import identity
from store.config.engine import Beam, Ray
from store.tables import schema
from store.tables.staging import StageRun
from store.workspace import Workspace

CONFIG = "sources: {pictures: {path: drops}}\nduplicates: {image: 31, audio: 0.75}\n"
NAMES = ("image_sharpness", "image_entropy", "image_pdq", "image_pdq_quality")


def jpeg(seed: int) -> bytes:
    """A JPEG with detail at all scales, as photographs have, of 60 to 90 kB."""
    rng = np.random.default_rng(seed)
    total = np.zeros((480, 640, 3), np.float32)
    for cells, weight in ((4, 1.0), (12, 0.5), (40, 0.3), (160, 0.25)):
        small = rng.integers(0, 255, (cells, cells + 2, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize((640, 480), Image.Resampling.BILINEAR)
        total += weight * (np.asarray(large, np.float32) - 127)
    out = io.BytesIO()
    Image.fromarray(np.clip(127 + total, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()


def loop(images: list[bytes]) -> list[tuple]:
    """The values of `NAMES` for each image, in one thread."""
    scorers = [s for s in DEFAULT_SCORERS if isinstance(s, ImageScorer)]
    results = [measure_image(data, scorers)[0] for data in images]
    return [tuple(values[n] for n in NAMES) for values in results]


def timed_loop(images: list[bytes]) -> tuple[float, float]:
    """Wall-clock seconds and processor seconds of the loop, after a warm-up."""
    loop(images[:10])
    wall, cpu = time.perf_counter(), time.process_time()
    loop(images)
    return time.perf_counter() - wall, time.process_time() - cpu


def store_samples(root: Path, images: list[bytes]) -> Workspace:
    """A workspace whose table of samples holds the images."""
    (root / "corpus.yaml").write_text(CONFIG)
    workspace = Workspace.open(root)
    rows = []
    for number, data in enumerate(images):
        part = identity.part_id("image", data)
        rows.append(
            {
                "drop": "a",
                "id": identity.sample_id(part, None, None),
                "source": "s",
                "key": f"{number:06d}",
                "image_id": part,
                "image": data,
                "image_bytes": len(data),
                "image_format": "jpeg",
                "image_width": 640,
                "image_height": 480,
            }
        )
    table = pa.Table.from_pylist(rows, schema=schema.SAMPLES)
    workspace.tables.replace("samples", schema.SAMPLES, table.to_batches(64), None)
    return workspace


def pipeline(
    workspace: Workspace, engine: str, cores: int, name: str
) -> tuple[float, float, StageRun]:
    """Wall-clock seconds and processor seconds of the stage, and its run with the staged rows."""
    samples = workspace.tables.open("samples")
    drop_filter, earlier = "drop = 'a'", EarlierSignals(workspace.tables, "a")
    run = StageRun(workspace.tables, "signals", "a", name, schema.SIGNALS).open()
    versions = scorer_versions(workspace)
    plan = _Plan(workspace, run, samples.version, 0, versions, plan_of(workspace.config.policy))
    with measured() as usage:
        units = list(list_units(samples, drop_filter, earlier))
        work = partial(UnitWork, plan)
        if engine == "ray":
            run_on_ray(Ray(), run, units, work, _name)
        else:
            options = {"direct_num_workers": cores, "direct_running_mode": "multi_processing"}
            run_on_beam(Beam(options=options), run, units, work, _name)
    return usage.seconds, usage.processor_seconds, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pictures", type=int, default=9_000)
    parser.add_argument("--engine", choices=("ray", "beam"), default="ray")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = "1"  # one thread per loop, as Ray sets it for its workers
    base = [jpeg(seed) for seed in range(min(200, options.pictures))]
    images = [base[n % len(base)] + n.to_bytes(4) for n in range(options.pictures)]
    sample = images[:: max(1, len(images) // 400)]
    rates: list[tuple[float, ...]] = []
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, cluster(), spawn.Pool(cores) as pool:
        workspace = store_samples(Path(folder), images)
        if options.engine == "ray":  # the start of the workers is not measured
            ray.get([_warm.remote(base[0]) for _ in range(4 * cores)])
        pool.map(timed_loop, [sample[:5]] * cores)
        for number in range(options.rounds + 1):
            loop_wall, loop_cpu = pool.apply(timed_loop, (sample,))
            parallel = pool.map(timed_loop, [sample] * cores, chunksize=1)
            wall, cpu, run = pipeline(workspace, options.engine, cores, f"{number}")
            if number:  # the first round is a warm-up
                n = len(sample)
                loops = [n / loop_wall, sum(n / seconds for seconds, _ in parallel), n / loop_cpu]
                rates.append((*loops, len(images) / wall, len(images) / cpu))
        rows = run.staged(["id", *NAMES]).to_pylist()
        values = {row["id"]: tuple(row[n] for n in NAMES) for row in rows}
        expected = loop(sample)
        assert len(values) == len(images)
        for data, value in zip(sample, expected, strict=True):
            own = values[identity.sample_id(identity.part_id("image", data), None, None)]
            assert own[2:] == value[2:]
            np.testing.assert_allclose(own[:2], value[:2], rtol=1e-6)
    single, parallel_rate, loop_cpu_rate, stage, stage_cpu = (
        statistics.median(column) for column in zip(*rates, strict=True)
    )
    ratios = [
        (stage / (single * cores), stage / parallel, stage_cpu / loop_cpu)
        for single, parallel, loop_cpu, stage, stage_cpu in rates
    ]
    to_single, to_parallel, to_loop_cpu = (
        statistics.median(column) for column in zip(*ratios, strict=True)
    )
    print(f"\n{options.pictures:,} JPEGs of 640 x 480, {cores} cores, equal values\n")
    print("| | images/s | images per processor second |\n|---|---|---|")
    print(f"| loop, one process | {single:.0f} | {loop_cpu_rate:.0f} |")
    print(f"| loop, {cores} parallel processes | {parallel_rate:.0f} | |")
    print(f"| pipeline with {options.engine} | {stage:.0f} | {stage_cpu:.0f} |")
    print(f"| pipeline relative to one loop times cores | {to_single:.2f} | {to_loop_cpu:.2f} |")
    print(f"| pipeline relative to the parallel loops | {to_parallel:.2f} | |")


@ray.remote(num_cpus=1)
def _warm(data: bytes) -> tuple[float, float]:
    time.sleep(0.5)  # long enough for every worker to get a task
    return timed_loop([data])


if __name__ == "__main__":
    main()
