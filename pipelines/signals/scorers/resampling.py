"""Traces of resampling: interpolated pixels are smoother than others, at regular distances.

The magnitude of the second derivative along a line is averaged over all lines. A scaled image has
a peak in the spectrum of this average, at a frequency that depends on the scale (Gallagher 2005,
"Detection of linear and cubic interpolation in JPEG compressed images"). The blocks of a JPEG have
peaks at multiples of 1/8, which do not count.

There is no peak if the image was made smaller, doubled, or scaled by a multiple of 1/8 before it
was stored as JPEG.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_LEAST_SIDE = 128  # pixels
_LOWEST = 0.08  # cycles a pixel; below are the contents of the image
_STRONGEST = 0.95  # larger derivatives, those of edges, count as this quantile
_NEIGHBOURS = 31  # frequencies that a peak is compared with
_BLOCK, _BLOCK_WIDTH = 8, 3.5  # of JPEG: pixels; half width of its peaks in frequencies


def resampling(luma: np.ndarray, has_blocks: bool) -> float | None:
    """The strongest peak, relative to the median of its neighbours, of rows and of columns.

    Args:
        luma: uint8 (height, width).
        has_blocks: whether the image was stored as JPEG.

    Returns:
        3 to 5 for most photographs that were not resampled. None if a side has fewer than 128
        pixels, or the image is even.
    """
    if min(luma.shape) < _LEAST_SIDE:
        return None
    strongest = max(_peak(luma, has_blocks), _peak(luma.T, has_blocks))
    return strongest or None


def _peak(lines: np.ndarray, has_blocks: bool) -> float:
    x = lines.astype(np.float32)
    derivative = np.abs(2 * x[:, 1:-1] - x[:, :-2] - x[:, 2:])
    mean = np.minimum(derivative, np.quantile(derivative, _STRONGEST)).mean(axis=0)
    count = len(mean)
    spectrum = np.abs(np.fft.rfft((mean - mean.mean()) * np.hanning(count)))
    frequencies = np.arange(len(spectrum)) / count
    allowed = frequencies > _LOWEST
    if has_blocks:
        from_block = np.abs(frequencies * _BLOCK - np.rint(frequencies * _BLOCK)) / _BLOCK
        allowed &= from_block > _BLOCK_WIDTH / count
    padded = np.pad(spectrum, _NEIGHBOURS // 2, mode="reflect")
    usual = np.median(sliding_window_view(padded, _NEIGHBOURS), axis=1)
    known = allowed & (usual > 0)
    return float((spectrum[known] / usual[known]).max(initial=0.0))
