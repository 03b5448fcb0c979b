"""Near-duplicate pictures: hashes that are near, of the whole or of a crop, and then the same look.

A hash sees no colours and few details, so what is near by it is looked at: the one picture, cropped
as its hash was and with the other's brightness, is taken from the other, at 24 x 24 pixels. A
picture without colours is compared with the greys of one that has some.
"""

from collections.abc import Callable

import numpy as np

from pipelines.duplicates.images import hamming
from pipelines.duplicates.pair_joins import Pairs, collect
from pipelines.signals.scorers.image_copies import CROPS, INTERVALS, LOOK, reduction

# Differences, of 255, in the 3 x 3 pixels that differ most. Copies of the same size, brightness and
# colours differ least; what was cropped may lie beside it by half a pixel, and what was brightened
# has lost what was light.
_SAME, _GREYED, _CHANGED = 20.0, 16.0, 40.0
_SAME_GAIN, _SAME_OFFSET = 0.05, 6.0
_SIDE = 24
_PAIRS = 1024
_GREY = 1.5  # mean distance of a channel from grey, of 255
_DARK, _LIGHT = 7, 248  # beyond these a change of brightness cannot be told
_GAINS = 0.5, 2.0
_LEAST = 20  # pixels that brightness is told by
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Looks = Callable[[np.ndarray], np.ndarray]


def pairs(hashes: np.ndarray, looks: Looks, radius: int, first: int = 0) -> Pairs:
    """Pairs of pictures of which one is a copy of the other or of a crop of it, at least one of
    them at `first` or after it.

    Args:
        hashes: uint8 (n, 16, 32), as the signal `image_copies` has them.
        looks: gives uint8 (k, 32, 32, 3) for places (k,), as the signal `image_look` has them.
        radius: in bits, for the whole; three quarters of it for crops, which are hashed exactly.

    Returns: similarity is 1 - distance / 256, of the nearer hashes.
    """
    whole, rows = np.ascontiguousarray(hashes[:, 0]), len(hashes)
    near = hamming.pairs(whole, radius, first)
    found = [(near.a, near.b, near.similarity, np.zeros(len(near), np.int64))]
    for kept in range(1, CROPS):
        of = np.ascontiguousarray(hashes[:, kept])
        for y, x, similarity in hamming.between(whole, of, radius * 3 // 4, first):
            apart = x != y
            found.append((x[apart], y[apart], similarity[apart], np.full(apart.sum(), kept)))
    x, y, similarity, crop = (np.concatenate(column) for column in zip(*found, strict=True))
    # Of a pair that is near by several crops the nearest is looked at.
    code = np.minimum(x, y) * rows + np.maximum(x, y)
    order = np.lexsort((crop, -similarity, code))
    once = order[np.r_[True, np.diff(code[order]) != 0]] if len(order) else order
    x, y, similarity, crop = x[once], y[once], similarity[once], crop[once]
    same = np.zeros(len(x), bool)
    for start in range(0, len(x), _PAIRS):
        some = slice(start, start + _PAIRS)
        same[some] = alike(looks(x[some]), crop[some], looks(y[some]))
    return collect([(x[same], y[same], similarity[same])], rows)


def alike(whole: np.ndarray, crop: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """(k,) bool: whether pictures look the same.

    Args:
        whole, copy: uint8 (k, 32, 32, 3); `crop`: (k,) which crop of `whole` may be `copy`.
    """
    down, across = _REDUCTIONS[crop // len(INTERVALS)], _REDUCTIONS[crop % len(INTERVALS)]
    a = np.einsum("kyv,kvhc,kxh->kyxc", down, whole.astype(np.float32), across, optimize=True)
    b = np.einsum("yv,kvhc,xh->kyxc", _WHOLE, copy.astype(np.float32), _WHOLE, optimize=True)
    grey_a, grey_b = a @ _LUMA, b @ _LUMA
    colourless = [_colour(a, grey_a) < _GREY, _colour(b, grey_b) < _GREY]
    greyed = (colourless[0] != colourless[1])[:, None, None, None]
    a, b = (np.where(greyed, g[..., None], v) for g, v in ((grey_a, a), (grey_b, b)))
    limit = np.where(crop > 0, _CHANGED, np.where(greyed[:, 0, 0, 0], _GREYED, _SAME))
    found = _worst(b - a) <= limit
    gain, offset = _brightness(grey_a, grey_b)
    changed = (np.abs(gain - 1) > _SAME_GAIN) | (np.abs(offset) > _SAME_OFFSET)
    usual = (gain >= _GAINS[0]) & (gain <= _GAINS[1]) & ~greyed[:, 0, 0, 0]
    shown = np.clip(gain[:, None, None, None] * a + offset[:, None, None, None], 0, 255)
    return found | usual & (_worst(b - shown) <= np.where(changed, _CHANGED, limit))


def _worst(difference: np.ndarray) -> np.ndarray:
    return np.abs(_smooth(difference)).max(axis=(1, 2, 3))


def _colour(picture: np.ndarray, grey: np.ndarray) -> np.ndarray:
    return np.abs(picture - grey[..., None]).mean(axis=(1, 2, 3))


def _brightness(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k,) gain and offset that make b of a, by least squares."""
    inside = (np.minimum(a, b) > _DARK) & (np.maximum(a, b) < _LIGHT)
    inside |= inside.sum(axis=(1, 2), keepdims=True) < _LEAST
    count = inside.sum(axis=(1, 2))
    mean_a, mean_b = ((v * inside).sum(axis=(1, 2)) / count for v in (a, b))
    away = (a - mean_a[:, None, None]) * inside
    gain = (away * b).sum(axis=(1, 2)) / ((away * away).sum(axis=(1, 2)) + 1e-9)
    return gain, mean_b - gain * mean_a


def _smooth(pictures: np.ndarray) -> np.ndarray:
    """Means of 3 x 3 pixels, of (k, y, x, c)."""
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    down = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (down[:, :, :-2] + down[:, :, 1:-1] + down[:, :, 2:]) / 9


_REDUCTIONS = np.stack([reduction(*interval, LOOK, _SIDE) for interval in INTERVALS])
_WHOLE = _REDUCTIONS[0]
