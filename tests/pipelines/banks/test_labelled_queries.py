"""The right answers of a query: the rows of its pair, or those of its cluster."""

import numpy as np
import pyarrow as pa

from pipelines.banks.labelled_queries import MOST_MATES, Gallery, labelled_queries
from store import corrections
from store.arrow import vector_column
from store.corrections import Correction
from store.tables.banks import Banks

RNG = np.random.default_rng(0)


def unit_rows(rows: int) -> np.ndarray:
    x = RNG.normal(size=(rows, 6)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def banks(rows: list[tuple[str, str, str, str]], vectors: np.ndarray) -> Banks:
    """A table of banks with rows (modality, part id, sample id, cluster) in the split `test`."""
    names = ("modality", "part_id", "sample_id", "cluster")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    return Banks(
        pa.table({"split": ["test"] * len(rows), **columns, "vector": vector_column(vectors)})
    )


def test_within_a_modality_the_rest_of_the_cluster_is_right() -> None:
    """Captions in clusters of three: the other two are the right answers of each."""
    vectors = unit_rows(9)
    parts, clusters = [f"p{i}" for i in range(9)], [f"c{i // 3}" for i in range(9)]
    rows = [("text", p, f"s{i}", c) for i, (p, c) in enumerate(zip(parts, clusters, strict=True))]
    gallery = Gallery(vectors, np.array(clusters), np.array(parts))
    queries = labelled_queries(banks(rows, vectors), "test", "text", "text", gallery)
    assert queries.own_rows.tolist() == list(range(9))
    assert [sorted(a) for a in queries.answers] == [
        [j for j in range(9) if j // 3 == i // 3 and j != i] for i in range(9)
    ]
    raw = Correction("none", {}, vectors, np.zeros(9, np.float32))
    evaluation = corrections.evaluate(
        raw, queries.vectors, queries.answers, exclude=queries.own_rows
    )
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    for i, answers in enumerate(queries.answers):
        best = scores[i][answers].max()
        assert evaluation.first[i] == 1 + (scores[i] > best).sum()


def test_too_large_clusters_give_no_answers() -> None:
    count = MOST_MATES + 1
    vectors = unit_rows(count)
    parts = np.array([f"p{i:02d}" for i in range(count)])
    rows = [("text", p, f"s{p}", "c") for p in parts]
    gallery = Gallery(vectors, np.array(["c"] * count), parts)
    queries = labelled_queries(banks(rows, vectors), "test", "text", "text", gallery)
    assert queries.answered == 0
    assert queries.with_answers().parts.size == 0


def test_between_modalities_the_sample_s_other_part_is_right() -> None:
    """An image with two captions, and one that is not in the gallery."""
    vectors = unit_rows(6)
    rows = [
        ("text", "t0", "s0", "c0"), ("image", "i0", "s0", "c0"), ("text", "t1", "s1", "c0"),
        ("image", "i0", "s1", "c0"), ("text", "t2", "s2", "c2"), ("image", "i9", "s2", "c2"),
    ]  # fmt: skip
    gallery = Gallery(vectors[:2], np.array(["c0", "c1"]), np.array(["i0", "i1"]))
    queries = labelled_queries(banks(rows, vectors), "test", "text", "image", gallery)
    assert dict(zip(queries.parts, queries.answers, strict=True)) == {
        "t0": [0],
        "t1": [0],
        "t2": [],
    }
    assert queries.with_answers().parts.tolist() == ["t0", "t1"]
    assert queries.own_rows.tolist() == [-1, -1, -1]
