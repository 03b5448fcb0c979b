"""Find crops, rotations and mirror images: several local features agree, then every pixel.

The work is divided by blocks of indexed images and by blocks of new ones, so memory is bounded.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pipelines.duplicates.images.aligned_views import View, coarser_last, similarity
from pipelines.duplicates.images.feature_crowds import Features, crowded_keys, in_blocks
from pipelines.duplicates.images.feature_votes import FeatureIndex
from pipelines.duplicates.images.registration import register
from pipelines.duplicates.images.similarity_transforms import Transform, find_transform
from pipelines.duplicates.pair_joins import Block, Rows
from pipelines.engine.ray_tasks import streams_in_order
from pipelines.engine.shared_rows import share
from pipelines.signals.scorers.image_local import mirrored

_AGREEING = 3  # keypoints that a transform moves onto their match
# Of the keypoints where the images overlap. Pages of text with one layout have up to 0.05, since
# letters match, but not at the same places; nearly all copies have 0.1 or more.
_SHARE = 0.07
# Images less alike than this are not registered. Of 242 pairs of copies from 0.4 to 0.8, it brings
# 93 to 0.8; 7 of these were below this.
_REGISTERED = 0.5
_INDEXED = 16_384  # images in the index of a task: 200 MB
_NEW = 2048  # new images that a task on Ray looks up
_LOOKED_UP = 64  # new images whose candidates are compared at a time

# indices (k,) -> (k, 64, 64, 3) uint8, the signal `image_view`
Views = Callable[[np.ndarray], np.ndarray]


class Search(NamedTuple):
    """What all tasks of a search read. The attributes are those of `near_blocks`, and:

    crowds: the keys that are ignored in each band.
    """

    order: Rows
    features: Features
    views: Views
    threshold: float
    crowds: list[np.ndarray]


class Lookup(NamedTuple):
    """A task: the images from `start` to `stop` are indexed, those from `first` to `last` are
    looked up among the earlier ones of these."""

    start: int
    stop: int
    first: int
    last: int


def near_blocks(
    order: Rows,
    features: Features,
    views: Views,
    threshold: float,
    first: int = 0,
    *,
    on_ray: bool = False,
) -> Iterator[Block]:
    """Find the pairs of images of which one is a part of the other: turned, scaled or mirrored.

    Args:
        order: (n,) distinct integers. The two images of a pair are compared in this order,
            whichever of them is new.
        features: reads the local features of some images; picklable if tasks run on Ray.
        views: reads the pixels of some images; likewise.
        threshold: the smallest similarity, as in `aligned_views.similarity`.
        first: pairs of two images before it are left out.
        on_ray: compare by Ray tasks; else in this process.

    Returns:
        Blocks of pairs with their similarity. A pair may come several times.
    """
    count = len(order)
    if first >= count:
        return
    crowds = crowded_keys(features, count, on_ray=on_ray)
    search = Search(share(order, on_ray), features, views, threshold, crowds)
    yield from streams_in_order(
        _look_up, search, lookups(count, first, _NEW if on_ray else count), on_ray=on_ray
    )


def lookups(count: int, first: int, new: int) -> Iterator[Lookup]:
    """The tasks that look up all images from `first` on, at most `new` each, among earlier ones."""
    for start in range(0, count, _INDEXED):
        stop = min(start + _INDEXED, count)
        for begin in range(max(first, start), count, new):
            yield Lookup(start, stop, begin, min(begin + new, count))


def _look_up(search: Search, task: Lookup) -> Iterator[Block]:
    index = FeatureIndex(in_blocks(search.features, task.start, task.stop), search.crowds)
    for begin in range(task.first, task.last, _LOOKED_UP):
        new = np.arange(begin, min(begin + _LOOKED_UP, task.last))
        old, new, flip = _candidates(index, search.features(new), begin - task.start)
        old, new = old + task.start, new + task.start
        in_order = search.order[old] < search.order[new]
        one, other = np.where(in_order, old, new), np.where(in_order, new, old)
        same = _similarities(one, other, flip, search.features, search.views, search.threshold)
        near = same >= search.threshold
        yield one[near], other[near], same[near]


def _candidates(
    index: FeatureIndex, records: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Earlier images, new images and whether one of them is mirrored, (k,) each."""
    old, new, flip = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, bool)]
    for is_mirrored, block in ((False, records), (True, mirrored(records))):
        for node, record in enumerate(block, start):
            found = index.candidates(record, before=node)
            old.append(found)
            new.append(np.full(len(found), node))
            flip.append(np.full(len(found), is_mirrored))
    return np.concatenate(old), np.concatenate(new), np.concatenate(flip)


def _similarities(
    one: np.ndarray,
    other: np.ndarray,
    flip: np.ndarray,
    features: Features,
    views: Views,
    threshold: float,
) -> np.ndarray:
    """The similarity of each pair, (k,); 0 if too few keypoints agree."""
    out = np.zeros(len(one))
    if not len(one):
        return out
    nodes, place = np.unique(np.concatenate([one, other]), return_inverse=True)
    records, pixels = features(nodes), views(nodes)
    places = zip(*place.reshape(2, -1).tolist(), flip.tolist(), strict=True)
    for number, (a, b, is_mirrored) in enumerate(places):
        record, view = records[b], pixels[b]
        if is_mirrored:
            record, view = mirrored(record), view[:, ::-1]
        transform = find_transform(records[a], record)
        if transform and transform.agreeing >= _AGREEING and transform.share >= _SHARE:
            sides = [(int(r["width"]), int(r["height"])) for r in (records[a], record)]
            one_view, other_view = View(pixels[a], *sides[0]), View(view, *sides[1])
            out[number] = _similarity(one_view, other_view, transform, threshold)
    return out


def _similarity(one: View, other: View, transform: Transform, threshold: float) -> float:
    """The similarity of two images, after registration if it is below the threshold."""
    one, other, transform = coarser_last(one, other, transform)
    value = similarity(one, other, transform)
    if not _REGISTERED <= value < threshold:
        return value
    return max(value, similarity(one, other, register(one, other, transform)))
