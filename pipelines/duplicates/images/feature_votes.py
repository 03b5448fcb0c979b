"""Find the pairs of images of which several local features agree: these may be crops.

Each descriptor has a key in four bands of 32 of its bits. Two keypoints match if their keys in a
band differ in one bit or none. A match gives a rotation, a scale and a shift between its images; a
pair is a candidate if matches of three points agree about these.

A key that more than 256 images have says little, and is ignored (`feature_crowds.py`). Letters,
dots, or a frame that all images share are such. So the work for a new image is bounded. But for
this, and for ties where two images have very many matches, a candidate depends on its two images
alone.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from pipelines.duplicates.images.feature_crowds import BANDS, band_keys, filled
from pipelines.duplicates.pair_joins import bounded_slices
from pipelines.signals.scorers.image_local import SIZES, points
from store.arrays import equal_range, ragged_ranges
from store.tables.signals import KEYPOINTS

_VOTES = 3  # points of a candidate whose matches agree
_MOST_MATCHES = 64  # of two images that are compared with each other
_FLIPS = np.r_[0, 1 << np.arange(32)].astype(np.uint32)
_ANGLE = 16  # between the rotations of matches that agree: a 16th of a turn
_SIZE = SIZES // 2  # between their scales: half an octave
# Between the shifts of matches that agree: pixels, and a share of the distance of their points.
_PIXELS, _SHARE = 4.0, 0.1


class FeatureIndex:
    """The keypoints of some images, by key.

    Memory: 14 bytes a keypoint, and 12 for each of its bands: at most 12 kB an image.
    """

    def __init__(self, blocks: Iterable[np.ndarray], crowds: Sequence[np.ndarray]):
        """Args:
        blocks: records of `FEATURES`, in blocks.
        crowds: the keys that are ignored in each band, ascending.
        """
        counts, parts, places = [], [], []
        for block in blocks:
            counts.append(block["count"].astype(np.int64))
            parts.append(filled(block))
            places.append(points(block).astype(np.complex64))
        count, keypoints = np.concatenate(counts), np.concatenate(parts)
        self._first = np.cumsum(count) - count
        self.node = np.repeat(np.arange(len(count), dtype=np.int32), count)
        self.size, self.angle = keypoints["size"], keypoints["angle"]
        self.points = np.concatenate(places)
        self._bands = [
            self._band(band_keys(keypoints, band), crowds[band]) for band in range(BANDS)
        ]

    def _band(self, key: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sorted keys of a band, without those of a crowd, and the keypoints that have them."""
        order = np.lexsort((self.node, key))
        key = key[order]
        rare = ~np.isin(key, crowd)
        return key[rare], order[rare]

    def candidates(self, record: np.ndarray, before: int) -> np.ndarray:
        """The images that may be a crop of an image, or it of them.

        Args:
            record: one of `FEATURES`.
            before: images from this one on are left out.

        Returns:
            (k,) int64, ascending.
        """
        keypoints = filled(record[None])
        i, x = self._matches(keypoints, before)
        turn = self.angle[i].astype(np.int32) - keypoints["angle"][x]
        grow = self.size[i].astype(np.int32) - keypoints["size"][x]
        _, group = np.unique(self.node[i], return_inverse=True)
        likely = _share_a_bin(group, turn, grow)
        i, x, turn, grow = (column[likely] for column in (i, x, turn, grow))
        z, w = points(record[None]).astype(np.complex64)[x], self.points[i]
        p = (np.exp2(grow / SIZES) * np.exp(2j * np.pi / 256 * turn)).astype(np.complex64)
        _, start, count = np.unique(self.node[i], return_index=True, return_counts=True)
        out = [np.empty(0, np.int64)]
        for block in bounded_slices(count * count):
            first, size = start[block], count[block]
            one = np.repeat(ragged_ranges(first, size), np.repeat(size, size))
            other = ragged_ranges(np.repeat(first, size), np.repeat(size, size))
            near = np.abs((turn[one] - turn[other] + 128) % 256 - 128) <= _ANGLE
            near &= np.abs(grow[one] - grow[other]) <= _SIZE
            one, other = one[near], other[near]
            dz, dw, scale = z[other] - z[one], w[other] - w[one], p[one]
            # The same whichever of the two images is the new one.
            limit = _PIXELS + _SHARE * np.sqrt(np.abs(dz) * np.abs(dw))
            agrees = np.abs(scale * dz - dw) <= limit * np.sqrt(np.abs(scale))
            one, other = one[agrees], other[agrees]
            enough = (np.bincount(one, minlength=len(i)) >= _VOTES)[one]
            one, other = one[enough], other[enough]
            votes = np.minimum(*(_distinct(one, at[other], len(i)) for at in (z, w)))
            out.append(self.node[i[votes >= _VOTES]])
        return np.unique(np.concatenate(out)).astype(np.int64)

    def _matches(self, keypoints: np.ndarray, before: int) -> tuple[np.ndarray, np.ndarray]:
        """Matches as rows of the index and of `keypoints`, grouped by image of the index.

        Of images with more than 64 matches, those of the strongest keypoints are kept.
        """
        pairs = []
        for band, (key, row) in enumerate(self._bands):
            probes = (band_keys(keypoints, band)[:, None] ^ _FLIPS).ravel()
            first, count = equal_range(key, probes)
            x = np.repeat(np.arange(len(probes)) // len(_FLIPS), count)
            row = row[ragged_ranges(first, count)]
            old = self.node[row] < before
            pairs.append(row[old] * KEYPOINTS + x[old])
        i, x = np.divmod(np.unique(np.concatenate(pairs)), KEYPOINTS)
        strength = x + i - self._first[self.node[i]]
        order = np.lexsort((strength, self.node[i]))
        i, x = i[order], x[order]
        _, start, count = np.unique(self.node[i], return_index=True, return_counts=True)
        rows = ragged_ranges(start, np.where(count < _VOTES, 0, np.minimum(count, _MOST_MATCHES)))
        return i[rows], x[rows]


def _share_a_bin(group: np.ndarray, turn: np.ndarray, grow: np.ndarray) -> np.ndarray:
    """Which matches have enough others of their image near in rotation and scale.

    The bins overlap by half, so that matches that agree share one.
    """
    turns, grows = 256 // (4 * _ANGLE), 512 // (4 * _SIZE) + 2
    out = np.zeros(len(group), bool)
    for shift_turn in (0, 2 * _ANGLE):
        for shift_grow in (0, 2 * _SIZE):
            turn_bin = (turn + shift_turn) % 256 // (4 * _ANGLE)
            grow_bin = (grow + 256 + shift_grow) // (4 * _SIZE)
            code = (group * turns + turn_bin) * grows + grow_bin
            out |= (np.bincount(code) >= _VOTES)[code]
    return out


def _distinct(group: np.ndarray, points: np.ndarray, groups: int) -> np.ndarray:
    """In each group, how many points are about two pixels apart, int64 (groups,)."""
    _, cell = np.unique(np.rint(points / 2), return_inverse=True)
    code = np.unique(group * (cell.max(initial=0) + 1) + cell) // (cell.max(initial=0) + 1)
    return np.bincount(code, minlength=groups)
