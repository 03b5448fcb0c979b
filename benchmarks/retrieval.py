"""The figures of docs/retrieval.md: each system beside raw and corrected search by one vector.

    isotrope demo demo
    python -m benchmarks.retrieval demo FEATURES [--only route]

FEATURES is the file `clip_coco500.npy`: CLIP vectors of 500 images and their captions. On the demo,
relevance is by the folder of the drawing, such as animals/birds; the items of the query's own
sample do not count. Intervals are of the gain over corrected search: a paired bootstrap of 95%.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import isotrope
from benchmarks import planted_retrieval
from store.arrow import as_matrix
from store.metrics.intervals import paired_bootstrap
from store.search.search import Search

QUERIES = 200


class Labelled:
    """A gallery of a corpus whose items have labels: relevant are items of the query's label."""

    def __init__(self, corpus: "isotrope.Corpus", modality: str, depth: int = 2):
        columns = ["part_id", "key", "id"]
        rows = corpus.gallery_dataset(modality).to_table(columns=columns).to_pylist()
        self.corpus, self.modality, self.size = corpus, modality, len(rows)
        self.labels = {r["part_id"]: "/".join(r["key"].split("/")[:depth]) for r in rows}
        self.samples = {r["part_id"]: r["id"] for r in rows}
        names, counts = np.unique(list(self.labels.values()), return_counts=True)
        self.counts = dict(zip(names.tolist(), counts.tolist(), strict=True))
        several = [part for part, label in self.labels.items() if self.counts[label] >= 3]
        chosen = np.random.default_rng(0).permutation(sorted(several))[:QUERIES]
        self.queries = chosen.tolist()

    def precisions(self, make: Callable[[str], Search], label: Callable[[str], str]) -> np.ndarray:
        """(q,) average precision at 100 of each query, whose own sample does not count."""
        found = []
        for query in self.queries:
            rows = make(query).select("part_id").limit(100).to_arrow()
            parts = zip(rows["part_id"].to_pylist(), rows["id"].to_pylist(), strict=True)
            hits = np.array(
                [self.labels[p] == label(query) for p, i in parts if i != self.samples[query]]
            )
            most = min(100, self.counts[label(query)] - 1)
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            found.append(float(precision @ hits) / most)
        return np.array(found)


def compare(
    title: str, variants: dict[str, Callable[[], np.ndarray]], baseline: str = "corrected"
) -> Iterator[str]:
    """The rows of a table: the mean of each variant, and its gain over the baseline."""
    values, seconds = {}, {}
    for name, measure in variants.items():
        started = time.perf_counter()
        values[name] = measure()
        seconds[name] = (time.perf_counter() - started) / len(values[name])
    for name, value in values.items():
        gain = paired_bootstrap(value, values[baseline])
        shown = (
            "" if name == baseline else f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        )
        yield f"| {title} | {name} | {value.mean():.3f} | {shown} | {1000 * seconds[name]:.1f} |"


def route(corpus: "isotrope.Corpus", features: Path) -> Iterator[str]:
    """Searches within a modality, direct and by way of another one."""
    for modality in corpus.release.modalities:
        own = Labelled(corpus, modality)

        def measured(correction: str, way: str, own: Labelled = own) -> Callable[[], np.ndarray]:
            def search(part: str) -> Search:
                query = corpus.search(ids=part).among(own.modality)
                return query.correct(correction).route(way)

            return lambda: own.precisions(search, lambda part: own.labels[part])

        yield from compare(
            f"{modality} to {modality}, by folder",
            {
                "raw": measured("none", "direct"),
                "corrected": measured("auto", "direct"),
                "raw, cross": measured("none", "cross"),
                "corrected, cross": measured("auto", "cross"),
            },
        )
    yield from compare("planted, image to image", planted_retrieval.route())


def expand(corpus: "isotrope.Corpus", features: Path) -> Iterator[str]:
    """Searches by text, ranked anew by the graph."""
    own, texts = Labelled(corpus, "image"), Labelled(corpus, "text")
    own.samples |= texts.samples
    both = [text for text in texts.queries if own.counts.get(texts.labels[text], 0) >= 3]
    own.queries = both[:100]

    def measured(correction: str, words: tuple[int, float] | None) -> Callable[[], np.ndarray]:
        def search(part: str) -> Search:
            query = corpus.search(ids=part).among("image").correct(correction)
            return query if words is None else query.expand(*words)

        return lambda: own.precisions(search, lambda part: texts.labels[part])

    yield from compare(
        "text to image, by folder",
        {
            "raw": measured("none", None),
            "corrected": measured("auto", None),
            "raw, expand(1, 0.5)": measured("none", (1, 0.5)),
            "corrected, expand(1, 0.5)": measured("auto", (1, 0.5)),
            "corrected, expand(1, 0.8)": measured("auto", (1, 0.8)),
            "corrected, expand(2, 0.5)": measured("auto", (2, 0.5)),
        },
    )
    yield from compare("COCO, text to its image", planted_retrieval.coco_expand(features))
    yield from compare("planted topics, text to image", planted_retrieval.topic_expand())


def combine(corpus: "isotrope.Corpus", features: Path) -> Iterator[str]:
    """The third part of a test sample, asked by the two others together."""
    rows = corpus.banks.select(["sample_id", "modality", "part_id", "vector"], split="test")
    vectors = as_matrix(rows["vector"])
    samples: dict[str, dict[str, int]] = {}
    for n, row in enumerate(rows.select(["sample_id", "modality"]).to_pylist()):
        samples.setdefault(row["sample_id"], {})[row["modality"]] = n
    triples = [own for own in samples.values() if len(own) == 3]
    parts = rows["part_id"].to_pylist()
    for gallery in ("audio", "image", "text"):
        asked = [m for m in ("image", "text", "audio") if m != gallery]
        queries = {m: np.stack([vectors[own[m]] for own in triples]) for m in asked}
        right = [{parts[own[gallery]]} for own in triples]
        title = f"{asked[0]} and {asked[1]} to {gallery}"
        yield from compare(title, planted_retrieval.combined(corpus, queries, gallery, right))
    for name, measured in planted_retrieval.combine().items():
        yield from compare(f"planted, {name}", measured)


def aggregate(corpus: "isotrope.Corpus", features: Path) -> Iterator[str]:
    """Samples by the maximum, the soft maximum and the learned weights of their parts."""
    texts = Labelled(corpus, "text")
    texts.queries = texts.queries[:100]
    samples: dict[str, str] = {}
    for modality in corpus.release.modalities:
        rows = corpus.gallery_dataset(modality).to_table(columns=["id", "key"]).to_pylist()
        samples |= {row["id"]: "/".join(row["key"].split("/")[:2]) for row in rows}
    names, counts = np.unique(list(samples.values()), return_counts=True)
    members = dict(zip(names.tolist(), counts.tolist(), strict=True))

    def precisions(correction: str, name: str) -> np.ndarray:
        values = []
        for part in texts.queries:
            query = corpus.search(ids=part).among("sample").correct(correction).aggregate(name)
            found = query.limit(100).to_arrow()["id"].to_pylist()
            label = texts.labels[part]
            hits = np.array([samples[i] == label for i in found if i != texts.samples[part]])
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            values.append(float(precision @ hits) / min(100, max(1, members[label] - 1)))
        return np.array(values)

    yield from compare(
        "text to sample, by folder",
        {
            "raw": lambda: precisions("none", "max"),
            "corrected": lambda: precisions("auto", "max"),
            "raw, softmax": lambda: precisions("none", "softmax"),
            "corrected, softmax": lambda: precisions("auto", "softmax"),
            "raw, learned": lambda: precisions("none", "learned"),
            "corrected, learned": lambda: precisions("auto", "learned"),
        },
    )
    for name, measured in planted_retrieval.aggregate().items():
        yield from compare(f"planted, {name}", measured)


SYSTEMS: dict[str, Callable[["isotrope.Corpus", Path], Iterator[str]]] = {
    "route": route,
    "expand": expand,
    "combine": combine,
    "aggregate": aggregate,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--only", choices=SYSTEMS)
    options = parser.parse_args()
    corpus = isotrope.connect(str(options.corpus))
    corpus.search(text="a bird").to_list()  # loads the encoders
    for name, system in SYSTEMS.items():
        if options.only in (None, name):
            print(f"\n## {name}\n\n| search | system | mAP@100 or MRR | gain | ms a query |")
            print("|---|---|---|---|---|")
            for line in system(corpus, options.features):
                print(line, flush=True)


if __name__ == "__main__":
    main()
