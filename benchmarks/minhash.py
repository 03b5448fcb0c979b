"""Measure the search for near-duplicate texts: speed, recall and precision, also of datatrove.

    python benchmarks/minhash.py                      # 200,000 texts
    uv pip install --target peers "datatrove[processing]" spacy
    PYTHONPATH=peers:. python benchmarks/minhash.py 2> /dev/null  # datatrove logs to stderr

The peer is datatrove's pipeline: its four steps in one process, with its local executor and default
settings (MinHash signatures of 5-grams of words in 14 buckets of 8; buckets; clusters; filter). It
runs twice: with its own English tokenizer (spaCy), and with one that only splits at spaces. Each
system runs in a process of its own with one thread. Memory is the growth of its peak.

The texts contain planted copies with one edit and with two, and templates that are no copies (see
`planted_texts.py`). datatrove removes all texts of a cluster except one, so all systems are judged
by the texts that they remove; isotrope removes the later text of each pair. Recall is the share of
copies of which the copy or its original is removed. Precision is the share of removed texts that
are a copy or an original. Recall and precision of isotrope's pairs are printed too.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.planted_texts import Planted, planted
from pipelines.duplicates.pair_joins import collect_pairs
from pipelines.duplicates.texts import minhash, near_texts
from pipelines.engine.duckdb_scratch import database


@dataclass(frozen=True)
class Run:
    result: Any
    wall: float  # seconds
    cpu: float  # processor seconds
    memory: float  # MB


def measure(pairs: set[tuple[int, int]], texts: Planted) -> tuple[float, float]:
    """Recall of the copies with one edit, and precision over all copies.

    Args:
        pairs: pairs (a, b) of text numbers, a < b.
        texts: the texts with their planted copies.
    """
    once, all_copies = _pairs(texts.copies()), _pairs(texts.copies() | texts.twice)
    return len(pairs & once) / len(once), len(pairs & all_copies) / max(1, len(pairs))


def isotrope_pairs(texts: list[str]) -> set[tuple[int, int]]:
    signatures = minhash.signatures(texts)
    with tempfile.TemporaryDirectory() as folder, database(Path(folder)) as connection:
        blocks = near_texts.near_blocks(
            connection, Path(folder), signatures, lambda rows: [texts[r] for r in rows], 0.7
        )
        pairs = collect_pairs(blocks, len(texts))
    return set(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


def datatrove(texts: list[str], splits: bool = False) -> set[int]:
    """The numbers of the texts that datatrove removes.

    Args:
        texts: the texts.
        splits: split texts at spaces, without spaCy.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _datatrove(texts, Path(folder), splits)


def _datatrove(texts: list[str], folder: Path, splits: bool) -> set[int]:
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.typeshelper import Languages

    config = MinhashConfig()
    documents = [Document(text=t, id=str(i)) for i, t in enumerate(texts)]
    signed, buckets, clusters = (str(folder / n) for n in ("signatures", "buckets", "clusters"))
    signature = MinhashDedupSignature(signed, config=config, language=Languages.english)
    if splits:
        signature.word_tokenizer = Splitter()
    kept: set[int] = set()

    def feed(data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        yield from documents

    def keep(data: Any, rank: int = 0, world_size: int = 1) -> Any:
        for document in data:
            kept.add(int(document.id))
            yield document

    steps: list[list[Any]] = [
        [feed, signature],
        [MinhashDedupBuckets(signed, buckets, config=config)],
        [MinhashDedupCluster(buckets, clusters, config=config)],
        [feed, MinhashDedupFilter(clusters), keep],
    ]
    for number, step in enumerate(steps):
        LocalPipelineExecutor(
            pipeline=step,
            tasks=config.num_buckets if number == 1 else 1,
            workers=1,
            logging_dir=str(folder / f"log-{number}"),
            skip_completed=False,
        ).run()
    return set(range(len(texts))) - kept


class Splitter:
    """A tokenizer for datatrove that splits at spaces."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def run_in_process(work: Callable[..., Any], *arguments: Any) -> Run:
    """Run `work` in a new process with one thread."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_timed, work, *arguments).result()


def _timed(work: Callable[..., Any], texts: list[str], *arguments: Any) -> Run:
    work(texts[:200], *arguments)  # warm-up: imports and models are loaded once
    before = _peak_memory()
    wall, cpu = time.perf_counter(), time.process_time()
    result = work(texts, *arguments)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Run(result, wall, cpu, _peak_memory() - before)


def _peak_memory() -> float:
    """Peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _pairs(copies: dict[int, int]) -> set[tuple[int, int]]:
    return {(min(p), max(p)) for p in copies.items()}


def row(name: str, run: Run, removed: set[int], texts: Planted) -> str:
    """A row of the table: speed, memory, recall by kind of edit, precision."""

    def recall(copies: dict[int, int]) -> float:
        return sum(c in removed or o in removed for c, o in copies.items()) / len(copies)

    copies = texts.copies() | texts.twice
    correct = removed & {*copies, *copies.values()}
    count = len(texts.texts)
    figures = [f"{count / run.wall:,.0f}", f"{count / run.cpu:,.0f}", f"{run.memory:,.0f}"]
    shares = [recall(texts.copies()), *map(recall, texts.once.values()), recall(texts.twice)]
    shares.append(len(correct) / max(1, len(removed)))
    return f"| {' | '.join([name, *figures, *(f'{s:.4f}' for s in shares)])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--splits", action="store_true", help="datatrove without spaCy alone")
    options = parser.parse_args()
    texts = planted(options.texts, options.seed)
    mean = sum(map(len, texts.texts)) / len(texts.texts)
    print(f"\n{len(texts.texts):,} texts of {mean:.0f} characters", end=", ")
    print(f"{len(texts.copies()):,} copies of one edit, {len(texts.twice):,} of two\n")
    kinds = ["", "texts/s", "texts per processor second", "MB", "recall, one edit", *texts.once]
    print(f"| {' | '.join([*kinds, 'two edits', 'precision'])} |\n{'|---' * 11}|")
    own = run_in_process(isotrope_pairs, texts.texts)
    print(row("isotrope", own, {b for _, b in own.result}, texts), flush=True)
    notes = []
    peers = {"datatrove": False, "datatrove, split at spaces": True}
    for name, splits in peers.items():
        if options.splits and not splits:
            continue
        try:
            peer = run_in_process(datatrove, texts.texts, splits)
        except ImportError as error:
            notes.append(f"datatrove is left out: {error}; the docstring of this script shows how"
                         " to install it")  # fmt: skip
            break
        print(row(name, peer, peer.result, texts), flush=True)
        wall, cpu = peer.wall / own.wall, peer.cpu / own.cpu
        notes.append(f"{name}: {cpu:.1f} times the processor time, {wall:.1f} times the wall time")
    recall, precision = measure(own.result, texts)
    notes.append(f"pairs of isotrope: recall {recall:.4f}, precision {precision:.4f}")
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
