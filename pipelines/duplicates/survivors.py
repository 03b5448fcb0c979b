"""Which of near-duplicates survives: the longest caption, then the largest image, then the id.

Samples are taken in the order of that rank. One is lost if a survivor is directly near to it, and
survives otherwise. So everything that is lost is within the threshold of what it is lost to (no
chain of small steps costs a sample that no survivor looks like), no two survivors are near to each
other, and the order of arrival has no part in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.duplicates.pair_joins import Pairs


@dataclass(frozen=True)
class Near:
    """What is near to what, in one kind of comparison.

    Args:
        kind: how it is called.
        nodes: (samples,) the row in `pairs` of what was compared of a sample, -1 for nothing.
        parts: (samples,) the part that it was made of, as numbers. Samples with one part (five
            captions of one image) are not near to each other; parts with one node are, by 1.
        pairs: near nodes.
    """

    kind: str
    nodes: np.ndarray
    parts: np.ndarray
    pairs: Pairs


@dataclass(frozen=True)
class LostSamples:
    """Samples (k,) that are lost, the survivors that they are lost to, by which kind (its place),
    and how similar they are."""

    sample: np.ndarray
    survivor: np.ndarray
    kind: np.ndarray
    similarity: np.ndarray


def elect(rank: np.ndarray, near: Sequence[Near]) -> LostSamples:
    """Who is lost to whom.

    Of several survivors near to a sample it is lost to the most similar, of these to the one that
    ranks best; the kind named first counts before others.

    Args:
        rank: (samples,) all samples, the best first.
    """
    touched = [_touched(n) for n in near]
    neighbours = [_neighbours(n) for n in near]
    some = np.any(touched, axis=0) if near else np.zeros(len(rank), bool)
    alive: list[dict[int, int]] = [{} for _ in near]  # by kind: node -> its survivor
    place = np.empty(len(rank), np.int64)
    place[rank] = np.arange(len(rank))
    lost = []
    for sample in rank[some[rank]].tolist():
        for kind, n in enumerate(near):
            if not touched[kind][sample]:
                continue
            node, there = int(n.nodes[sample]), alive[kind]
            found = [
                (-s, place[there[m]], there[m]) for m, s in neighbours[kind](node) if m in there
            ]
            own = there.get(node)
            if own is not None and n.parts[own] != n.parts[sample]:
                found.append((-1.0, place[own], own))
            if found:
                similarity, _, survivor = min(found)
                lost.append((sample, survivor, kind, -similarity))
                break
        else:
            for kind, n in enumerate(near):
                if n.nodes[sample] >= 0:
                    alive[kind].setdefault(int(n.nodes[sample]), sample)
    columns = zip(*lost, strict=True) if lost else ((), (), (), ())
    kinds = (np.int64, np.int64, np.int64, np.float32)
    return LostSamples(*(np.array(c, t) for c, t in zip(columns, kinds, strict=True)))


def order(eligible: np.ndarray, caption: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(samples,) by rank, the best first; those that are not eligible come last.

    Args:
        caption: characters; `pixels`: width times height; 0 where there is none. Of equal samples
            the one that stands first is better: they are sorted by id.
    """
    return np.lexsort((-pixels, -caption, ~eligible))


def _touched(near: Near) -> np.ndarray:
    """(samples,) those whose node is near to another, or is made of several parts."""
    there = near.nodes >= 0
    count = int(near.nodes.max(initial=-1)) + 1
    paired = np.zeros(count, bool)
    for side in (near.pairs.a, near.pairs.b):
        paired[side[side < count]] = True
    made = np.unique(np.stack([near.nodes[there], near.parts[there]]), axis=1)[0]
    several = np.bincount(made, minlength=count) > 1
    out = np.zeros(len(near.nodes), bool)
    out[there] = (paired | several)[near.nodes[there]]
    return out


def _neighbours(near: Near) -> Callable[[int], list[tuple[int, float]]]:
    """node -> (node, similarity) of all near to it."""
    one = np.concatenate([near.pairs.a, near.pairs.b])
    other = np.concatenate([near.pairs.b, near.pairs.a])
    similarity = np.tile(near.pairs.similarity, 2)
    by = np.argsort(one, kind="stable")
    one, other, similarity = one[by], other[by], similarity[by]

    def of(node: int) -> list[tuple[int, float]]:
        low, high = np.searchsorted(one, (node, node + 1))
        return list(zip(other[low:high].tolist(), similarity[low:high].tolist(), strict=True))

    return of
