"""Near-duplicate texts: texts a second, recall and precision on planted copies, beside datatrove.

    python benchmarks/minhash.py                      # 200,000 texts
    uv pip install --target peers "datatrove[processing]" spacy
    PYTHONPATH=peers:. python benchmarks/minhash.py 2> /dev/null  # datatrove logs there

The peer is datatrove's own pipeline, its four steps in one process with its local executor and
its defaults: MinHash signatures (5-grams of words, 14 buckets of 8), buckets, clusters, filter. It
runs twice: with its own English tokenizer (spaCy's), and with one that only splits at spaces.
Each runs in a process of its own, of one thread; memory is what its peak added.

Planted are copies of one edit, of two, and templates (`planted_texts.py`). datatrove removes all
texts of a cluster but one, so all are judged by what they remove (we: the later text of each pair):
a copy is found where it or its original is removed, and what is removed is right where it is a
copy or an original. Recall and precision of our pairs are printed too.
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
from pipelines.duplicates.texts import minhash


@dataclass(frozen=True)
class Run:
    found: Any
    wall: float  # seconds
    busy: float  # processor seconds
    memory: float  # megabytes


def measure(found: set[tuple[int, int]], texts: Planted) -> tuple[float, float]:
    """Recall of copies of one edit, and precision, of pairs (a < b)."""
    once, every = _pairs(texts.copies()), _pairs(texts.copies() | texts.twice)
    return len(found & once) / len(once), len(found & every) / max(1, len(found))


def ours(texts: list[str]) -> set[tuple[int, int]]:
    signed = minhash.signatures(texts)
    found = minhash.pairs(signed, lambda rows: [texts[r] for r in rows], 0.7)
    return set(zip(found.a.tolist(), found.b.tolist(), strict=True))


def datatrove(texts: list[str], splits: bool = False) -> set[int]:
    """The texts that datatrove removes. Args: `splits` texts at spaces, without spaCy."""
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
    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def alone(work: Callable[..., Any], *given: Any) -> Run:
    """Run in a new process with threads of its own: none."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_timed, work, *given).result()


def _timed(work: Callable[..., Any], *given: Any) -> Run:
    work([*given[0][:200]], *given[1:])  # imports, and models that are loaded once
    before = _peak()
    clock, busy = time.perf_counter(), time.process_time()
    found = work(*given)
    busy, clock = time.process_time() - busy, time.perf_counter() - clock
    return Run(found, clock, busy, _peak() - before)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _pairs(copies: dict[int, int]) -> set[tuple[int, int]]:
    return {(min(p), max(p)) for p in copies.items()}


def row(name: str, run: Run, removed: set[int], texts: Planted) -> str:
    """A line of the table: speed, memory, recall by kind of edit, precision."""

    def recall(copies: dict[int, int]) -> float:
        return sum(c in removed or o in removed for c, o in copies.items()) / len(copies)

    copies = texts.copies() | texts.twice
    right = removed & {*copies, *copies.values()}
    many = len(texts.texts)
    figures = [f"{many / run.wall:,.0f}", f"{many / run.busy:,.0f}", f"{run.memory:,.0f}"]
    shares = [recall(texts.copies()), *map(recall, texts.once.values()), recall(texts.twice)]
    shares.append(len(right) / max(1, len(removed)))
    return f"| {' | '.join([name, *figures, *(f'{s:.4f}' for s in shares)])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    texts = planted(options.texts, options.seed)
    mean = sum(map(len, texts.texts)) / len(texts.texts)
    print(f"\n{len(texts.texts):,} texts of {mean:.0f} characters", end=", ")
    print(f"{len(texts.copies()):,} copies of one edit, {len(texts.twice):,} of two\n")
    kinds = ["", "texts a second", "a processor's second", "MB", "recall, one edit", *texts.once]
    print(f"| {' | '.join([*kinds, 'two edits', 'precision'])} |\n{'|---' * 11}|")
    mine = alone(ours, texts.texts)
    print(row("isotrope", mine, {b for _, b in mine.found}, texts), flush=True)
    said = []
    for name, splits in (("datatrove", False), ("datatrove, split at spaces", True)):
        try:
            theirs = alone(datatrove, texts.texts, splits)
        except ImportError as error:
            said.append(f"datatrove is left out: {error}; see the head of this file")
            break
        print(row(name, theirs, theirs.found, texts), flush=True)
        wall, busy = theirs.wall / mine.wall, theirs.busy / mine.busy
        said.append(f"{name}: {busy:.1f} times our processor time, {wall:.1f} times our wall time")
    recall, precision = measure(mine.found, texts)
    said.append(f"our pairs: recall {recall:.4f}, precision {precision:.4f}")
    print("\n" + "\n".join(said))


if __name__ == "__main__":
    main()
