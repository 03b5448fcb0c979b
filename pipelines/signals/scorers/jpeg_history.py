"""Traces of an earlier JPEG compression in the coefficients of a JPEG.

The coefficients of a JPEG that was compressed twice are multiples of two steps, one after the
other, which leaves gaps and peaks in their histograms. What the histograms would be without the
first compression is estimated from the pixels shifted by half a block, whose blocks meet no grid of
either compression (Lukas and Fridrich 2003, "Estimation of primary quantization matrix in double
compressed JPEG images"). For each of nine low frequencies, the first step is the one under which
the coefficients are most likely. Blocks that were pasted in lack the traces of the first
compression (after Lin et al. 2009, "Fast, automatic and fine-grained tampered JPEG image
detection").

There is no trace of the first compression if its steps are those of the second, and little if they
are smaller.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_FREQUENCIES = ((0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0))
_LEVELS = 24  # absolute values of quantised coefficients; the last stands for all larger ones
_MOST_STEP = 24  # of the first compression
_LEAST_FILLED = 0.02  # share of coefficients that are not 0, for a frequency to be used
_GRID = 4  # unquantised coefficients are counted in quarters
_ROUNDING = 12**-0.5  # deviation of coefficients after pixels were rounded
_MOST_RATIO = 4.0  # of the logarithm of likelihoods, for one coefficient
_STRONGEST = 5  # frequencies that count
_TWICE = 0.05  # nats a coefficient: fewer are no sign of two compressions
_WINDOW, _LEAST_WINDOWS = 13, 20  # blocks of a side; windows with coefficients
_INDEX = np.arange(8)
_DCT = np.sqrt(2 / 8) * np.cos((2 * _INDEX + 1) * _INDEX[:, None] * np.pi / 16)
_DCT[0] /= np.sqrt(2)


class JpegHistory(NamedTuple):
    """What the coefficients of a JPEG say of earlier compressions.

    Attributes:
        double: nats a coefficient by which two compressions are likelier than one.
        splice: by how much the region of 104 x 104 pixels with the fewest traces of the first
            compression has fewer than the median one, relative to the latter. 0: as many, or there
            was no first compression; 1: none.
    """

    double: float
    splice: float


def jpeg_history(luma: np.ndarray, steps: np.ndarray) -> JpegHistory | None:
    """Measure a decoded JPEG.

    Args:
        luma: uint8 (height, width), as stored; its corner is a corner of a block.
        steps: int (8, 8), the quantisation table of luma.

    Returns:
        None if there are too few coefficients that are not 0, as in small or flat images.
    """
    if min(luma.shape) < 24:
        return None
    coefficients, shifted = _coefficients(luma), _coefficients(luma[4:-4, 4:-4])
    ratios = np.zeros(coefficients.shape[:2])
    counts = np.zeros(coefficients.shape[:2])
    gains = []
    for frequency in _FREQUENCIES:
        step = float(steps[frequency])
        levels = np.rint(np.abs(coefficients[..., *frequency]) / step).astype(np.int64)
        levels = np.minimum(levels, _LEVELS - 1)
        counted = np.bincount(levels.ravel(), minlength=_LEVELS)
        if counted[1:].sum() < _LEAST_FILLED * levels.size:
            continue
        gain, by_level = _first_step(counted, np.abs(shifted[..., *frequency]).ravel(), step)
        gains.append(gain)
        ratios += by_level[levels]
        counts += levels > 0
    if not gains:
        return None
    double = float(np.mean(sorted(gains)[-_STRONGEST:]))
    return JpegHistory(double, _splice(ratios, counts) if double >= _TWICE else 0.0)


def _coefficients(luma: np.ndarray) -> np.ndarray:
    """The coefficients (rows, columns, 8, 8) of the blocks of an image (height, width)."""
    rows, columns = luma.shape[0] // 8, luma.shape[1] // 8
    pixels = luma[: 8 * rows, : 8 * columns].astype(np.float32) - 128
    blocks = pixels.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
    return _DCT @ blocks @ _DCT.T


def _first_step(
    counted: np.ndarray, unquantised: np.ndarray, step: float
) -> tuple[float, np.ndarray]:
    """The likeliest first step of a frequency.

    Args:
        counted: (_LEVELS,) of the coefficients, by absolute level.
        unquantised: (n,) absolute coefficients of the shifted image.
        step: of the second compression.

    Returns:
        The mean gain of the log-likelihood, at least 0, and that of each level.
    """
    weights = np.bincount(np.rint(_GRID * unquantised).astype(np.int64))
    values = np.arange(len(weights)) / _GRID
    once = _log_shares(values, weights, step)
    shares = counted[1:] / counted[1:].sum()
    best, by_level = 0.0, np.zeros(_LEVELS)
    for first in range(2, _MOST_STEP + 1):
        if first == step:
            continue
        rounded = np.rint(values / first) * first
        noisy = (rounded[:, None] + _OFFSETS).ravel()
        twice = _log_shares(np.abs(noisy), (weights[:, None] * _OFFSET_SHARES).ravel(), step)
        gain = float(shares @ (twice - once))
        if gain > best:
            best = gain
            by_level[1:] = np.clip(twice - once, -_MOST_RATIO, _MOST_RATIO)
    return best, by_level


def _log_shares(values: np.ndarray, weights: np.ndarray, step: float) -> np.ndarray:
    """The logarithms (_LEVELS - 1,) of the shares of levels 1 and more."""
    levels = np.minimum(np.rint(values / step).astype(np.int64), _LEVELS - 1)
    counted = np.bincount(levels, weights, minlength=_LEVELS)[1:] + 0.5
    return np.log(counted / counted.sum())


def _splice(ratios: np.ndarray, counts: np.ndarray) -> float:
    """How far the window with the smallest mean ratio lies below the median one."""
    if min(ratios.shape) < _WINDOW:
        return 0.0
    total, number = _windows(ratios), _windows(counts)
    filled = number >= _WINDOW**2
    if filled.sum() < _LEAST_WINDOWS:
        return 0.0
    means = total[filled] / number[filled]
    median = float(np.median(means))
    return (median - float(means.min())) / median if median > 0 else 0.0


def _windows(blocks: np.ndarray) -> np.ndarray:
    """The sums of all windows of blocks."""
    rows = sliding_window_view(blocks, _WINDOW, axis=0).sum(axis=-1)
    return sliding_window_view(rows, _WINDOW, axis=1).sum(axis=-1)


_OFFSETS = np.arange(-_GRID, _GRID + 1) / _GRID
_OFFSET_SHARES = np.exp(-0.5 * (_OFFSETS / _ROUNDING) ** 2)
_OFFSET_SHARES /= _OFFSET_SHARES.sum()
