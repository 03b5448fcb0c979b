"""Choose the survivors of near-duplicates: by longest caption, then largest image, then id.

Samples are visited in this order. A sample is lost if a survivor is directly near to it; otherwise
it survives. So three things hold:

- Every lost sample is within the threshold of the sample it is lost to. A chain of small steps
  costs no sample that no survivor resembles.
- No two survivors are near to each other.
- The order of arrival does not matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.duplicates.pair_joins import Pairs


@dataclass(frozen=True)
class NearPairs:
    """The near pairs of one kind of comparison.

    What is compared is a node, such as the hash of an image; several samples may share it.

    Attributes:
        kind: the name of the kind.
        nodes: (samples,) the node of each sample, a row in `pairs`; -1 if it has none.
        parts: (samples,) the number of the part that the node was made from. Samples with the same
            part (five captions of one image) are not near to each other. Different parts with the
            same node are, with a similarity of 1.
        pairs: near nodes.
    """

    kind: str
    nodes: np.ndarray
    parts: np.ndarray
    pairs: Pairs


@dataclass(frozen=True)
class LostSamples:
    """Samples that are lost to a survivor.

    Attributes:
        sample: (k,) int64.
        survivor: (k,) int64, the sample that each is lost to.
        kind: (k,) int64, the index of the kind of comparison.
        similarity: (k,) float32.
    """

    sample: np.ndarray
    survivor: np.ndarray
    kind: np.ndarray
    similarity: np.ndarray


def elect_survivors(rank: np.ndarray, near: Sequence[NearPairs]) -> LostSamples:
    """Decide which samples survive, and which are lost to which survivor.

    A sample is lost to the most similar of the survivors that are near to it, of equally similar
    ones to the one that ranks best. Kinds that come first in `near` count first.

    Args:
        rank: (samples,) all samples, the best first.
        near: the near pairs of each kind.
    """
    touched = [_touched(n) for n in near]
    neighbours = [_neighbours(n) for n in near]
    any_touched = np.any(touched, axis=0) if near else np.zeros(len(rank), bool)
    survivor_of: list[dict[int, int]] = [{} for _ in near]  # by kind: node -> a surviving sample
    position = np.empty(len(rank), np.int64)
    position[rank] = np.arange(len(rank))
    lost = []
    for sample in rank[any_touched[rank]].tolist():
        for kind, n in enumerate(near):
            if not touched[kind][sample]:
                continue
            node, survivors = int(n.nodes[sample]), survivor_of[kind]
            candidates = [
                (-similarity, position[survivors[other]], survivors[other])
                for other, similarity in neighbours[kind](node)
                if other in survivors
            ]
            same_node = survivors.get(node)
            if same_node is not None and n.parts[same_node] != n.parts[sample]:
                candidates.append((-1.0, position[same_node], same_node))
            if candidates:
                distance, _, survivor = min(candidates)
                lost.append((sample, survivor, kind, -distance))
                break
        else:
            for kind, n in enumerate(near):
                if n.nodes[sample] >= 0:
                    survivor_of[kind].setdefault(int(n.nodes[sample]), sample)
    columns = zip(*lost, strict=True) if lost else ((), (), (), ())
    dtypes = (np.int64, np.int64, np.int64, np.float32)
    return LostSamples(*(np.array(c, t) for c, t in zip(columns, dtypes, strict=True)))


def rank_samples(eligible: np.ndarray, caption: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Rank samples: by longest caption, then largest image; those not eligible come last.

    Args:
        eligible: (samples,) bool.
        caption: (samples,) characters, 0 without a caption.
        pixels: (samples,) width times height, 0 without an image.

    Returns:
        (samples,) the samples, the best first. Equal samples keep their order, which is by id.
    """
    return np.lexsort((-pixels, -caption, ~eligible))


def _touched(near: NearPairs) -> np.ndarray:
    """(samples,) bool: those whose node is near to another node, or is that of several parts."""
    has_node = near.nodes >= 0
    count = int(near.nodes.max(initial=-1)) + 1
    is_paired = np.zeros(count, bool)
    for side in (near.pairs.a, near.pairs.b):
        is_paired[side[side < count]] = True
    nodes = np.unique(np.stack([near.nodes[has_node], near.parts[has_node]]), axis=1)[0]
    has_several_parts = np.bincount(nodes, minlength=count) > 1
    touched = np.zeros(len(near.nodes), bool)
    touched[has_node] = (is_paired | has_several_parts)[near.nodes[has_node]]
    return touched


def _neighbours(near: NearPairs) -> Callable[[int], list[tuple[int, float]]]:
    """A function: node -> (node, similarity) of all nodes near to it."""
    node = np.concatenate([near.pairs.a, near.pairs.b])
    other = np.concatenate([near.pairs.b, near.pairs.a])
    similarity = np.tile(near.pairs.similarity, 2)
    order = np.argsort(node, kind="stable")
    node, other, similarity = node[order], other[order], similarity[order]

    def neighbours(of: int) -> list[tuple[int, float]]:
        low, high = np.searchsorted(node, (of, of + 1))
        return list(zip(other[low:high].tolist(), similarity[low:high].tolist(), strict=True))

    return neighbours
