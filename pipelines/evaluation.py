"""The figures of a release: raw and corrected side by side, on test pairs that nothing has seen.

Inductive: the bank's pairs fitted the correction, the validation pairs chose it, the test pairs
are neither. The whole gallery is searched.
"""

from typing import Any

import lance
import numpy as np

from pipelines.choose import Banks, Gallery
from pipelines.embed import as_matrix
from store.metrics import geometry, hubness, intervals, retrieval
from store.releases import Direction

K = 10  # of the k-occurrence
_SCORES = 32 << 20  # scores held at a time


def evaluate(
    galleries: dict[str, lance.LanceDataset], banks: Banks, directions: dict[str, Direction]
) -> dict[str, Any]:
    """Figures by direction, as JSON values.

    Per direction: `queries`, `pairs`, `gallery`, and where there are test queries, `raw` and
    `corrected` (r@1, r@5, r@10, mrr, median_rank, k_skewness, robin_hood, hub_share,
    anti_hub_share), `gain` (mean, low, high of the paired reciprocal ranks), `k_occurrence` (how
    many gallery items stand in 0, 1, 2 ... of the queries' top ten), `alignment`, `uniformity`
    and `modality_gap`.
    """
    return {
        name: _direction(galleries[direction.gallery], banks, direction)
        for name, direction in directions.items()
        if direction.query != direction.gallery
    }


def _direction(dataset: lance.LanceDataset, banks: Banks, direction: Direction) -> dict[str, Any]:
    table = dataset.to_table(
        columns=["part_id", "vector", "cluster", f"bias_{direction.query}"]
    ).sort_by("part_id")
    gallery = Gallery(
        as_matrix(table["vector"]),
        table["cluster"].to_numpy(zero_copy_only=False).astype(str),
        table["part_id"].to_numpy(zero_copy_only=False).astype(str),
    )
    bias = table[f"bias_{direction.query}"].to_numpy()
    if direction.method == "none":
        bias = np.zeros_like(bias)
    pairs = banks.pairs("test", direction.query, direction.gallery)
    vectors, clusters, parts = banks.part("test", direction.query)
    answers = [gallery.rows(pairs.get(part, set())) for part in parts]
    asked = [i for i, answer in enumerate(answers) if answer]
    figures: dict[str, Any] = {
        "method": direction.method,
        "params": direction.params,
        "reason": direction.reason,
        "queries": len(asked),
        "gallery": len(gallery.parts),
    }
    if not asked:
        return figures
    queries, clusters = vectors[asked], clusters[asked]
    relevant = retrieval.Relevant.of([answers[i] for i in asked], len(gallery.parts))
    sides = {"raw": np.zeros_like(bias), "corrected": bias}
    reciprocal = {}
    for side, subtracted in sides.items():
        first, lists = _search(queries, gallery.vectors, subtracted, relevant)
        counts = hubness.k_occurrence(lists, len(gallery.parts))
        reciprocal[side] = retrieval.reciprocal_rank(first)
        figures[side] = {
            **{f"r@{k}": float(retrieval.recall_at(first, k).mean()) for k in (1, 5, 10)},
            "mrr": float(reciprocal[side].mean()),
            "median_rank": retrieval.median_rank(first),
            "k_skewness": hubness.skewness(counts),
            "robin_hood": hubness.robin_hood(counts),
            "hub_share": hubness.hub_share(counts),
            "anti_hub_share": hubness.anti_hub_share(counts),
        }
        figures.setdefault("k_occurrence", {})[side] = np.bincount(counts).tolist()
    gain = intervals.paired_bootstrap(reciprocal["corrected"], reciprocal["raw"], groups=clusters)
    figures["gain"] = gain._asdict()
    partners = gallery.vectors[[answers[i][0] for i in asked]]
    figures["alignment"] = geometry.alignment(queries, partners)
    figures["uniformity"] = geometry.uniformity(gallery.vectors)
    figures["modality_gap"] = geometry.modality_gap(queries, partners)
    return figures


def _search(
    queries: np.ndarray, gallery: np.ndarray, bias: np.ndarray, relevant: retrieval.Relevant
) -> tuple[np.ndarray, np.ndarray]:
    """Best right rank (m,) and top-k lists (m, k) by q.g - bias, some queries at a time."""
    step = max(1, _SCORES // len(gallery))
    k = min(K, len(gallery))
    firsts, lists = [], []
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ gallery.T - bias
        part = relevant.part(start, start + len(scores))
        firsts.append(retrieval.first_ranks(retrieval.right_ranks(scores, part), part))
        lists.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    return np.concatenate(firsts), np.concatenate(lists)


def harmed(figures: dict[str, Any]) -> list[str]:
    """Directions in which the whole interval of the gain on test pairs lies below zero."""
    return [name for name, f in figures.items() if "gain" in f and f["gain"]["high"] < 0]
