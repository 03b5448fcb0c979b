"""Mixed lists of several modalities: calibrated scores beside the removal of means (GR-CLIP).

    isotrope demo demo
    python -m benchmarks.mixed_lists demo FEATURES

FEATURES is the file `clip_coco500.npy`. Items of a query's own modality are nearer to it than items
of others, by the modality gap. GR-CLIP (Li et al. 2025, MixBench) subtracts the mean of each
modality from queries and items, and merges by cosines. `among("any")` merges calibrated scores.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import isotrope
from benchmarks.planted_retrieval import misaligned, reciprocal_ranks
from store.arrow import as_matrix
from store.metrics.intervals import paired_bootstrap
from store.search.vector_layout import unfold
from tests.helpers.planted_release import Parts, part_id, publish, unit_rows

LISTED = 200


class Mixed(NamedTuple):
    """A corpus with queries, and the parts that answer them.

    Attributes:
        corpus: whose galleries are searched together.
        queries: (modality, unit vector, part ids that are left out) of each query.
        right: part ids of the answers of each query.
        means: (d,) by modality, of the banks.
    """

    corpus: "isotrope.Corpus"
    queries: list[tuple[str, np.ndarray, set[str]]]
    right: list[set[str]]
    means: dict[str, np.ndarray]

    def any_level(self, correction: str) -> np.ndarray:
        """(q,) reciprocal ranks of `among("any")`."""
        lists = []
        for modality, vector, own in self.queries:
            query = self.corpus.search(vectors={modality: vector}).among("any").correct(correction)
            rows = query.select("part_id").limit(LISTED).to_arrow()["part_id"].to_pylist()
            lists.append([part for part in rows if part not in own])
        return reciprocal_ranks(lists, self.right)

    def merged(self, is_centred: bool) -> np.ndarray:
        """(q,) reciprocal ranks of all items by cosine, with or without the means."""
        parts: list[str] = []
        rows = []
        for modality in self.corpus.release.modalities:
            table = self.corpus.gallery_dataset(modality).to_table(columns=["part_id", "vector"])
            parts += table["part_id"].to_pylist()
            items = unfold(as_matrix(table["vector"]), self.corpus.release.dim)
            rows.append(unit_rows(items - self.means[modality]) if is_centred else items)
        gallery, lists = np.concatenate(rows), []
        for modality, vector, own in self.queries:
            query = unit_rows(vector - self.means[modality]) if is_centred else vector
            best = np.argsort(-(gallery @ query), kind="stable")[: LISTED + len(own)]
            lists.append([parts[n] for n in best if parts[n] not in own])
        return reciprocal_ranks(lists, self.right)


def halves(pairs: dict[str, np.ndarray], count: int) -> Mixed:
    """A gallery of the texts of even pairs and the images of odd ones, asked by the other parts.

    Args:
        pairs: unit rows of images and texts. Pairs from `count` on are the banks.
        count: of the pairs that are searched.
    """
    numbers = np.arange(count)
    even, odd = numbers[::2], numbers[1::2]
    parts = {"image": Parts(odd, pairs["image"][odd]), "text": Parts(even, pairs["text"][even])}
    banks = {m: rows[count:] for m, rows in pairs.items()}
    corpus = publish(Path(tempfile.mkdtemp()), parts, banks)
    queries, right = [], []
    for n in numbers:
        asked, answer = ("image", "text") if n % 2 == 0 else ("text", "image")
        queries.append((asked, pairs[asked][n], set()))
        right.append({part_id(answer, n)})
    return Mixed(corpus, queries, right, {m: rows.mean(axis=0) for m, rows in banks.items()})


def demo(corpus: "isotrope.Corpus") -> Mixed:
    """All parts of the demo; each part of a test sample asks for the others of its sample."""
    rows = corpus.banks.select(["sample_id", "modality", "part_id", "vector"], split="test")
    samples: dict[str, set[str]] = {}
    for row in rows.select(["sample_id", "part_id"]).to_pylist():
        samples.setdefault(row["sample_id"], set()).add(row["part_id"])
    queries, right = [], []
    asked = zip(
        rows["modality"].to_pylist(), as_matrix(rows["vector"]), rows["part_id"].to_pylist(),
        rows["sample_id"].to_pylist(), strict=True,
    )  # fmt: skip
    for modality, vector, part, sample in asked:
        if others := samples[sample] - {part}:
            queries.append((modality, vector, {part}))
            right.append(others)
    means = {m: corpus.banks.items(m).vectors.mean(axis=0) for m in corpus.release.modalities}
    return Mixed(corpus, queries, right, means)


def settings(corpus: Path, features: Path) -> Iterator[tuple[str, Mixed]]:
    """The data sets."""
    for gap in (0.0, 1.0, 3.0):
        rng = np.random.default_rng(0)
        pairs = misaligned(rng, 600, 0.3)
        directions = gap * unit_rows(rng.normal(size=(2, pairs["image"].shape[1])))
        moved = zip(pairs.items(), directions, strict=True)
        yield f"planted, gap {gap:g}", halves({m: unit_rows(v + d) for (m, v), d in moved}, 300)
    image, text = (unit_rows(rows) for rows in np.load(features))
    yield "COCO", halves({"image": image, "text": text}, 300)
    yield "demo", demo(isotrope.open_corpus(corpus))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("features", type=Path)
    options = parser.parse_args()
    print("| corpus | list | MRR | gain over calibrated, corrected | ms a query |")
    print("|---|---|---|---|---|")
    for name, mixed in settings(options.corpus, options.features):
        ways: dict[str, Callable[[], np.ndarray]] = {
            "cosines": lambda mixed=mixed: mixed.merged(False),
            "means removed (GR-CLIP)": lambda mixed=mixed: mixed.merged(True),
            "calibrated, raw": lambda mixed=mixed: mixed.any_level("none"),
            "calibrated, corrected": lambda mixed=mixed: mixed.any_level("auto"),
        }
        values, seconds = {}, {}
        for way, measure in ways.items():
            started = time.perf_counter()
            values[way] = measure()
            seconds[way] = 1000 * (time.perf_counter() - started) / len(mixed.right)
        for way, value in values.items():
            gain = paired_bootstrap(value, values["calibrated, corrected"])
            shown = (
                ""
                if way == "calibrated, corrected"
                else f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
            )
            print(
                f"| {name} | {way} | {value.mean():.3f} | {shown} | {seconds[way]:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
