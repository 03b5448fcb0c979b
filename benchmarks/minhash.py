"""Near-duplicate texts: texts a second, recall and precision on planted copies, beside datatrove.

    python benchmarks/minhash.py                      # 200,000 texts
    uv pip install --target peers "datatrove[processing]"
    PYTHONPATH=peers python benchmarks/minhash.py --texts 20000

The peer is datatrove's own pipeline, its four steps in one process with its local executor and
its defaults: MinHash signatures (5-grams of words, 14 buckets of 8), buckets, clusters, filter.
Planted are copies with typos, with a word more or less, in other case and punctuation, and with
words in another order; and templates: the same text of another subject or number, which are no
copies. (No subject is another's with a word more.) datatrove keeps one a cluster: a text counts
as found where it was removed, or its copy was.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from open_clip import IMAGENET_CLASSNAMES

from pipelines.duplicates import minhash

_TEMPLATES = [
    "high quality stock photo of a {} on a white background isolated royalty free for download",
    "buy the new {} online at the best price with free shipping and easy returns for a month",
    "portrait of a {} in the studio by an unknown photographer from the nineteen fifties",
    "item number {} of the collection in very good condition with box and papers",
]


def planted(count: int, seed: int = 0) -> tuple[list[str], dict[int, int]]:
    """About `count` texts in no order: half are plain, a quarter copies of them, up to
    4,000 templates; and for each copy its original."""
    rng = np.random.default_rng(seed)
    subjects = list(dict.fromkeys(name.lower() for name in IMAGENET_CLASSNAMES))
    sets = [set(s.split()) for s in subjects]
    inside = [any(s < other for other in sets) for s in sets]  # one word more: a copy, by our rules
    subjects = [s for s, part in zip(subjects, inside, strict=True) if not part]
    words = np.array(sorted({w for s in [*subjects, *_TEMPLATES] for w in re.findall("[a-z]+", s)}))
    rng.shuffle(words)
    likely = 1 / np.arange(10, len(words) + 10) ** 0.9
    likely /= likely.sum()
    cumulated = np.cumsum(likely)
    plain = [
        " ".join(words[np.searchsorted(cumulated, rng.random(rng.integers(12, 45)))])
        for _ in range(count // 2)
    ]
    edits = [_typo, _other_word_count, _dressed, _reordered]
    copies = [edits[i % len(edits)](plain[i], words, rng) for i in range(count // 4)]
    filled = min(count // 16, len(subjects))
    templates = [t.format(s) for t in _TEMPLATES[:3] for s in subjects[:filled]]
    templates += [_TEMPLATES[3].format(10_000 + n) for n in range(filled)]
    texts = plain + copies + templates
    places = np.argsort(shuffled := rng.permutation(len(texts)))
    pairs = {int(places[len(plain) + i]): int(places[i]) for i in range(len(copies))}
    return [texts[i] for i in shuffled], pairs


def measure(found: set[tuple[int, int]], copies: dict[int, int]) -> tuple[float, float]:
    """Recall and precision of pairs (a < b)."""
    wanted = {(min(p), max(p)) for p in copies.items()}
    return len(found & wanted) / len(wanted), len(found & wanted) / max(1, len(found))


def _typo(text: str, words: np.ndarray, rng: np.random.Generator) -> str:
    at = int(rng.integers(1, len(text) - 1))
    letter = "abcdefghijklmnoprstuvz"[rng.integers(22)]
    ways = (text[:at] + text[at + 1 :], text[:at] + letter + text[at:])
    return ways[rng.integers(len(ways))]


def _other_word_count(text: str, words: np.ndarray, rng: np.random.Generator) -> str:
    split = text.split()
    at = int(rng.integers(len(split)))
    if rng.random() < 0.5:
        del split[at]
    else:
        split.insert(at, str(words[rng.integers(len(words))]))
    return " ".join(split)


def _dressed(text: str, words: np.ndarray, rng: np.random.Generator) -> str:
    return ", ".join(part.strip().capitalize() for part in text.split(" ", 2)) + "!"


def _reordered(text: str, words: np.ndarray, rng: np.random.Generator) -> str:
    split = text.split()
    at = int(rng.integers(1, len(split)))
    return " ".join(split[at:] + split[:at])


def ours(texts: list[str]) -> set[tuple[int, int]]:
    signed = minhash.signatures(texts)
    found = minhash.pairs(signed, lambda rows: [texts[r] for r in rows], 0.7)
    return set(zip(found.a.tolist(), found.b.tolist(), strict=True))


def datatrove(texts: list[str], folder: Path) -> set[int]:
    """The texts that datatrove removes."""
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
    signature = MinhashDedupSignature(
        output_folder=str(folder / "signatures"), config=config, language=Languages.english
    )
    kept: set[int] = set()

    def feed(data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        yield from documents

    def keep(data: Any, rank: int = 0, world_size: int = 1) -> Any:
        for document in data:
            kept.add(int(document.id))
            yield document

    steps: list[list[Any]] = [
        [feed, signature],
        [
            MinhashDedupBuckets(
                input_folder=str(folder / "signatures"),
                output_folder=str(folder / "buckets"),
                config=config,
            )
        ],
        [
            MinhashDedupCluster(
                input_folder=str(folder / "buckets"),
                output_folder=str(folder / "clusters"),
                config=config,
            )
        ],
        [feed, MinhashDedupFilter(input_folder=str(folder / "clusters")), keep],
    ]
    for number, step in enumerate(steps):
        tasks = config.num_buckets if number == 1 else 1
        LocalPipelineExecutor(
            pipeline=step,
            tasks=tasks,
            workers=1,
            logging_dir=str(folder / f"log-{number}"),
            skip_completed=False,
        ).run()
    return set(range(len(texts))) - kept


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    clock, busy = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - clock, time.process_time() - busy, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--texts", type=int, default=200_000)
    options = parser.parse_args()
    texts, copies = planted(options.texts)
    mean = sum(map(len, texts)) / len(texts)
    print(f"\n{len(texts):,} texts of {mean:.0f} characters, {len(copies):,} planted copies\n")
    print("| | texts a second | of processor time | recall | precision |\n|---|---|---|---|---|")
    clock, busy, found = timed(lambda: ours(texts))
    recall, precision = measure(found, copies)
    rate = len(texts) / busy
    print(
        f"| isotrope | {len(texts) / clock:,.0f} | {rate:,.0f} | {recall:.4f} | {precision:.4f} |"
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            clock, busy, removed = timed(lambda: datatrove(texts, Path(folder)))
    except ImportError as error:
        print(f"\ndatatrove is left out: {error}; see the head of benchmarks/minhash.py")
        return
    hit = sum(c in removed or o in removed for c, o in copies.items()) / len(copies)
    true = removed & {*copies, *copies.values()}
    share = len(true) / max(1, len(removed))
    name = f"| datatrove | {len(texts) / clock:,.0f} | {len(texts) / busy:,.0f}"
    print(f"{name} | {hit:.4f} | {share:.4f} |")
    print(f"\nratio of processor time: {rate / (len(texts) / busy):.1f}")


if __name__ == "__main__":
    main()
