"""Signals of pictures: the pipeline on every core, against a bare loop in one process.

    python benchmarks/signals.py                      # 9,000 JPEGs of 640 x 480
    python benchmarks/signals.py --engine beam        # by Beam's local runner instead of Ray tasks

The loop decodes the same bytes, held in memory, and computes the same values; the pipeline reads
them from Lance and stages its rows there. Loop and pipeline take turns; their values are compared.
The loop is run alone, and once in each of as many processes as there are cores, side by side: cores
that share caches, or that others use, give less than one alone. Processor time is that of all
processes, Ray's own among them; it hardly wavers where others use the machine.
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

from embedders.pool.ray_cluster import cluster
from pipelines.engine.beam import run_on_beam as by_beam
from pipelines.engine.ray_tasks import run_on_ray as by_ray
from pipelines.signals.decoded_image import measure_picture
from pipelines.signals.incremental import EarlierSignals
from pipelines.signals.registry import active
from pipelines.signals.scorer import PictureScorer
from pipelines.signals.stage import UnitWork, _name, _Plan, list_units
from pipelines.stages import run_keys
from store import identity
from store.config.corpus_yaml import Signals
from store.config.engine import Beam, Ray
from store.tables import schema
from store.tables.staging import StageRun
from store.workspace import Workspace

CONFIG = "sources: {pictures: {path: drops}}\n"
NAMES = ("image_sharpness", "image_entropy", "image_pdq", "image_pdq_quality")


def jpeg(seed: int) -> bytes:
    """Detail at every scale, as photographs have, in 60 to 90 kB."""
    rng = np.random.default_rng(seed)
    total = np.zeros((480, 640, 3), np.float32)
    for cells, weight in ((4, 1.0), (12, 0.5), (40, 0.3), (160, 0.25)):
        small = rng.integers(0, 255, (cells, cells + 2, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize((640, 480), Image.Resampling.BILINEAR)
        total += weight * (np.asarray(large, np.float32) - 127)
    out = io.BytesIO()
    Image.fromarray(np.clip(127 + total, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()


def loop(pictures: list[bytes]) -> list[tuple]:
    scorers = [s for s in active(Signals(), Path()) if isinstance(s, PictureScorer)]
    found = [measure_picture(data, scorers)[0] for data in pictures]
    return [tuple(values[n] for n in NAMES) for values in found]


def timed_loop(pictures: list[bytes]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor's time."""
    loop(pictures[:10])
    clock, busy = time.perf_counter(), time.process_time()
    loop(pictures)
    return time.perf_counter() - clock, time.process_time() - busy


def busy() -> float:
    """Seconds of processor time that this process and all that descend from it have had, those that
    have ended among them."""
    spent, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        spent[pid] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    ours = {os.getpid()}
    while more := {p for p, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(spent.get(pid, 0.0) for pid in ours)


def store_samples(root: Path, pictures: list[bytes]) -> Workspace:
    (root / "corpus.yaml").write_text(CONFIG)
    workspace = Workspace.open(root)
    rows = []
    for number, data in enumerate(pictures):
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
    samples = workspace.tables.open("samples")
    here, known = "drop = 'a'", EarlierSignals(workspace.tables, "a")
    run = StageRun(workspace.tables.root, "signals", "a", name, schema.SIGNALS).open()
    plan = _Plan(workspace, run, samples.version, 0, here, run_keys.scorers(workspace))
    clock, spent = time.perf_counter(), busy()
    units = list(list_units(samples, here, known))
    work = partial(UnitWork, plan)
    if engine == "ray":
        by_ray(Ray(), run, units, work, _name)
    else:
        options = {"direct_num_workers": cores, "direct_running_mode": "multi_processing"}
        by_beam(Beam(options=options), run, units, work, _name)
    return time.perf_counter() - clock, busy() - spent, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pictures", type=int, default=9_000)
    parser.add_argument("--engine", choices=("ray", "beam"), default="ray")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = "1"  # a loop on one core, as Ray grants each of its workers
    base = [jpeg(seed) for seed in range(min(200, options.pictures))]
    pictures = [base[n % len(base)] + n.to_bytes(4) for n in range(options.pictures)]
    some = pictures[:: max(1, len(pictures) // 400)]
    rates: list[tuple[float, ...]] = []
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, cluster(), spawn.Pool(cores) as pool:
        workspace = store_samples(Path(folder), pictures)
        if options.engine == "ray":  # starting the workers is not what is measured
            ray.get([_warm.remote(base[0]) for _ in range(4 * cores)])
        pool.map(timed_loop, [some[:5]] * cores)
        for number in range(options.rounds + 1):
            clock, work = pool.apply(timed_loop, (some,))
            both = pool.map(timed_loop, [some] * cores, chunksize=1)
            seconds, spent, run = pipeline(workspace, options.engine, cores, f"{number}")
            if number:  # the first round warms up
                beside = sum(len(some) / c for c, _ in both)
                loops = [len(some) / clock, beside, len(some) / work]
                rates.append((*loops, len(pictures) / seconds, len(pictures) / spent))
        rows = run.staged(["id", *NAMES]).to_pylist()
        values = {row["id"]: tuple(row[n] for n in NAMES) for row in rows}
        expected = loop(some)
        assert len(values) == len(pictures)
        for data, value in zip(some, expected, strict=True):
            own = values[identity.sample_id(identity.part_id("image", data), None, None)]
            assert own[2:] == value[2:]
            np.testing.assert_allclose(own[:2], value[:2], rtol=1e-6)
    alone, beside, busily, piped, piped_busily = (
        statistics.median(column) for column in zip(*rates, strict=True)
    )
    ratios = [(p / (a * cores), p / b, q / w) for a, b, w, p, q in rates]
    to_one, to_all, to_work = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"\n{options.pictures:,} JPEGs of 640 x 480, {cores} cores, equal values\n")
    print("| | images a second | a second of processor time |\n|---|---|---|")
    print(f"| bare loop, one process alone | {alone:.0f} | {busily:.0f} |")
    print(f"| bare loop, {cores} processes side by side | {beside:.0f} | |")
    print(f"| pipeline by {options.engine} | {piped:.0f} | {piped_busily:.0f} |")
    print(f"| pipeline to the loop alone times cores | {to_one:.2f} | {to_work:.2f} |")
    print(f"| pipeline to the loops side by side | {to_all:.2f} | |")


@ray.remote(num_cpus=1)
def _warm(data: bytes) -> tuple[float, float]:
    time.sleep(0.5)  # so that every worker gets one
    return timed_loop([data])


if __name__ == "__main__":
    main()
