"""Which gallery rows are right for a query: those of its pair, or those of its own cluster."""

import numpy as np
import pyarrow as pa

from pipelines.banks.labelled_queries import MOST_MATES, Gallery, labelled_queries
from store import corrections
from store.corrections import Correction
from store.tables.banks import Banks

RNG = np.random.default_rng(0)


def units(rows: int) -> np.ndarray:
    x = RNG.normal(size=(rows, 6)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def banks(rows: list[tuple[str, str, str, str]], vectors: np.ndarray) -> Banks:
    """Rows (modality, part id, sample id, cluster) of the split `test`."""
    names = ("modality", "part_id", "sample_id", "cluster")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    listed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 6)
    return Banks(pa.table({"split": ["test"] * len(rows), **columns, "vector": listed}))


def test_mates_within_a_modality() -> None:
    """Captions in clusters of three: each is asked for, and its two mates are right."""
    vectors = units(9)
    parts, clusters = [f"p{i}" for i in range(9)], [f"c{i // 3}" for i in range(9)]
    rows = [("text", p, f"s{i}", c) for i, (p, c) in enumerate(zip(parts, clusters, strict=True))]
    gallery = Gallery(vectors, np.array(clusters), np.array(parts))
    asked = labelled_queries(banks(rows, vectors), "test", "text", "text", gallery)
    assert asked.own_rows.tolist() == list(range(9))
    assert [sorted(a) for a in asked.answers] == [
        [j for j in range(9) if j // 3 == i // 3 and j != i] for i in range(9)
    ]
    raw = Correction("none", {}, vectors, np.zeros(9, np.float32))
    seen = corrections.evaluate(raw, asked.vectors, asked.answers, exclude=asked.own_rows)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    for i, answers in enumerate(asked.answers):
        best = scores[i][answers].max()
        assert seen.first[i] == 1 + (scores[i] > best).sum()


def test_a_cluster_that_hangs_together_by_chance_answers_nothing() -> None:
    count = MOST_MATES + 1
    vectors = units(count)
    parts = np.array([f"p{i:02d}" for i in range(count)])
    rows = [("text", p, f"s{p}", "c") for p in parts]
    gallery = Gallery(vectors, np.array(["c"] * count), parts)
    asked = labelled_queries(banks(rows, vectors), "test", "text", "text", gallery)
    assert asked.answered == 0
    assert asked.with_answers().parts.size == 0


def test_pairs_between_modalities() -> None:
    """One picture with two captions, one with one, and one that is not in the gallery."""
    vectors = units(6)
    rows = [
        ("text", "t0", "s0", "c0"), ("image", "i0", "s0", "c0"), ("text", "t1", "s1", "c0"),
        ("image", "i0", "s1", "c0"), ("text", "t2", "s2", "c2"), ("image", "i9", "s2", "c2"),
    ]  # fmt: skip
    made = banks(rows, vectors)
    gallery = Gallery(vectors[:2], np.array(["c0", "c1"]), np.array(["i0", "i1"]))
    asked = labelled_queries(made, "test", "text", "image", gallery)
    assert dict(zip(asked.parts, asked.answers, strict=True)) == {"t0": [0], "t1": [0], "t2": []}
    assert asked.with_answers().parts.tolist() == ["t0", "t1"]
    assert asked.own_rows.tolist() == [-1, -1, -1]
