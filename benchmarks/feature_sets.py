"""Paired feature sets for the benchmark of the gain: files of features, and the demo corpus."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lance
import numpy as np

from store.arrow import as_matrix
from store.tables.names import bank_table

SPLITS = ("bank", "validation", "test")


@dataclass(frozen=True)
class Pairs:
    """Queries and the gallery that they search, n rows each.

    Rows of equal clusters are right answers for each other, and go to the same half.
    """

    name: str
    queries: np.ndarray
    gallery: np.ndarray
    clusters: np.ndarray

    def take(self, rows: np.ndarray) -> "Pairs":
        return Pairs(self.name, self.queries[rows], self.gallery[rows], self.clusters[rows])

    def halves(self, seed: int) -> tuple["Pairs", "Pairs"]:
        """Two random halves of the clusters."""
        names = np.random.default_rng(seed).permutation(np.unique(self.clusters))
        first = np.isin(self.clusters, names[: len(names) // 2])
        return self.take(np.flatnonzero(first)), self.take(np.flatnonzero(~first))


def both_directions(set_name: str, names: tuple[str, str], rows: list, clusters) -> Iterator[Pairs]:
    """The directions of a set: its first modality searched by the second one, and the reverse."""
    first, second = (unit(x) for x in rows)
    clusters = np.unique(clusters, return_inverse=True)[1]
    yield Pairs(f"{set_name}, {names[1]} to {names[0]}", second, first, clusters)
    yield Pairs(f"{set_name}, {names[0]} to {names[1]}", first, second, clusters)


def read_file(path: Path) -> Iterator[Pairs]:
    """Both directions of a file: .npy (2, n, d), images and captions; or .npz with two feature
    arrays and `cluster`."""
    name = path.stem.rstrip("0123456789")
    if path.suffix == ".npy":
        rows = np.load(path)
        yield from both_directions(name, ("image", "text"), list(rows), np.arange(rows.shape[1]))
        return
    with np.load(path) as arrays:
        names = [n for n in arrays.files if n != "cluster"]
        if len(names) != 2 or "cluster" not in arrays.files:
            raise SystemExit(f"{path} must hold two feature arrays and `cluster`: {arrays.files}")
        rows = [arrays[n] for n in names]
        yield from both_directions(name, (names[0], names[1]), rows, arrays["cluster"])


def read_stamps(corpus: Path) -> Iterator[Pairs]:
    """Texts and images of a corpus that `isotrope demo` made, in the local space: the samples of
    its bank, validation and test splits."""
    table = lance.dataset(str(corpus / "tables" / f"{bank_table('local')}.lance")).to_table(
        columns=["split", "modality", "sample_id", "cluster", "vector"]
    )
    kept = np.isin(table["split"].to_numpy(zero_copy_only=False).astype(str), SPLITS)
    vectors = as_matrix(table["vector"])
    columns = (table[c].to_pylist() for c in ("modality", "sample_id", "cluster"))
    by_sample: dict[str, dict] = {}
    for i, (modality, sample, cluster) in enumerate(zip(*columns, strict=True)):
        if kept[i]:
            by_sample.setdefault(sample, {"cluster": cluster})[modality] = vectors[i]
    samples = [s for s in by_sample.values() if "text" in s and "image" in s]
    rows = [np.stack([s[m] for s in samples]) for m in ("image", "text")]
    yield from both_directions("stamps", ("image", "text"), rows, [s["cluster"] for s in samples])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name feature sets: `features` and `stamps`."""
    parser.add_argument("features", type=Path, nargs="*")
    parser.add_argument("--stamps", type=Path, help="a corpus that `isotrope demo` made")


def one_direction_each(options: argparse.Namespace) -> list[Pairs]:
    """The first direction of each feature set that the command line names."""
    sets = [next(iter(read_file(path))) for path in options.features]
    return sets + ([next(iter(read_stamps(options.stamps)))] if options.stamps else [])


def unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float32)  # half precision is too coarse for lengths
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
