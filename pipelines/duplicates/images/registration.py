"""Improve the transform between two images by their pixels.

A transform of a few keypoints can be off by more than a pixel, and at an edge that makes a large
difference. Steps of Gauss-Newton on the grey values mend it (Lucas and Kanade 1981, "An iterative
image registration technique"), with less weight for large differences.
"""

import numpy as np

from pipelines.duplicates.images.aligned_views import View, eroded, places, sampled
from pipelines.duplicates.images.copies import LUMA
from pipelines.duplicates.images.similarity_transforms import Transform
from store.tables.signals import VIEW

_STEPS = 5
_RIDGE = 1e-4  # of columns of length 1: where the images are flat, nothing moves
_LEAST_PIXELS = 64  # where the images overlap
_USUAL = 30.0  # of 255: differences beyond this, and beyond twice the median, count less


def register(one: View, other: View, transform: Transform) -> Transform:
    """The transform near a given one that lays one image over the other best.

    Args:
        one, other: the images.
        transform: moves points of `one` to `other`.

    Returns:
        The given transform where the images hardly overlap, or a step fails.
    """
    grey, target = (view.pixels.astype(np.float32) @ LUMA for view in (one, other))
    down, right = np.gradient(grey)
    layers = np.stack([grey, right * (VIEW / one.width), down * (VIEW / one.height)], axis=-1)
    centre = (np.arange(VIEW) + 0.5) / VIEW
    w = centre * other.width + 1j * centre[:, None] * other.height
    current = transform
    for _ in range(_STEPS):
        u, v = places(one, other, current)
        inside = eroded((u >= -0.5) & (u <= VIEW - 0.5) & (v >= -0.5) & (v <= VIEW - 0.5))
        if inside.sum() < _LEAST_PIXELS:
            return transform
        value, x, y = sampled(layers, u, v)[inside].T
        mean = w[inside].mean()
        z = w[inside] - mean
        # The inverse transform is w -> turn w + shift. The last two columns fit the brightness.
        columns = [x, y, x * z.real + y * z.imag, y * z.real - x * z.imag, value, np.ones(len(x))]
        jacobian = np.stack(columns, axis=1)
        difference = target[inside] - value
        usual = 2 * np.median(np.abs(difference)) + _USUAL
        weight = 1 / np.maximum(1, np.abs(difference) / usual) ** 2
        scale = np.linalg.norm(jacobian, axis=0) + 1e-9
        scaled = jacobian / scale
        normal = (scaled * weight[:, None]).T @ scaled + _RIDGE * np.eye(len(columns))
        step = np.linalg.solve(normal, scaled.T @ (weight * difference))
        a, b, c, d, *_ = (step / scale).tolist()
        turn = 1 / current.p + complex(c, d)
        shift = -current.q / current.p + complex(a, b) - complex(c, d) * mean
        if not turn or not np.isfinite(turn):
            return transform
        current = transform._replace(p=1 / turn, q=-shift / turn)
    return current
