"""Find the rotation, scale and shift under which the local features of two images agree.

Points are complex numbers, so that such a transform is z -> p z + q: the size of p is the scale,
its angle the rotation. A single match of two keypoints gives a transform, since keypoints have a
size and an angle (Philbin et al. 2007, "Object retrieval with large vocabularies and fast spatial
matching"). Those of all matches are compared, so nothing is drawn at random. The best one is
fitted by least squares to the matches that agree with it.
"""

from typing import NamedTuple

import numpy as np

from pipelines.signals.scorers.image_local import SIZES, points

_MOST_BITS = 64  # of 256 in which descriptors of a match differ; unrelated ones differ in 128
_PIXELS = 4.0  # of the measured image, between a keypoint and the image of its match
_FITTED_PIXELS = 2.5  # after the fit
_FITS = 3
_ANGLE, _OCTAVES = np.deg2rad(30), 0.75  # between a match and the transform that it agrees with


class Transform(NamedTuple):
    """The transform z -> p z + q from one image to another, in pixels of the measured images.

    Attributes:
        p, q: complex.
        agreeing: the number of keypoints that it moves onto their match.
        share: of the keypoints where the images overlap, in the image that has fewer there.
    """

    p: complex
    q: complex
    agreeing: int
    share: float

    def inverse(self) -> "Transform":
        """The transform from the other image."""
        return self._replace(p=1 / self.p, q=-self.q / self.p)


def find_transform(one: np.ndarray, other: np.ndarray) -> Transform | None:
    """The transform from one image to another with the most agreeing keypoints.

    Args:
        one, other: records of `FEATURES`.

    Returns:
        None if fewer than two keypoints agree.
    """
    a, b = (r["keypoints"][: r["count"]] for r in (one, other))
    if not len(a) or not len(b):
        return None
    i, j = _matches(a["bits"], b["bits"])
    z, w = points(one[None])[i], points(other[None])[j]
    if len(z) < 2:
        return None
    turn = (b["angle"][j].astype(np.int16) - a["angle"][i]) * (2 * np.pi / 256)
    grow = (b["size"][j].astype(np.int16) - a["size"][i]) / SIZES
    p = np.exp2(grow) * np.exp(1j * turn)
    q = w - p * z
    agrees = np.abs(p[:, None] * z + q[:, None] - w) <= _PIXELS
    agrees &= _is_alike(p[:, None], p)
    inside = agrees[agrees.sum(axis=1).argmax()]
    for _ in range(_FITS):
        p_fit, q_fit = _fit(z[inside], w[inside])
        if p_fit == 0:
            return None
        inside = np.abs(p_fit * z + q_fit - w) <= _FITTED_PIXELS
        inside &= _is_alike(p_fit, p)
        if inside.sum() < 2:
            return None
    agreeing = _distinct(z[inside])
    all_z, all_w = points(one[None]), points(other[None])
    overlapping = (
        _distinct(all_z[_within(p_fit * all_z + q_fit, other)]),
        _distinct(all_w[_within((all_w - q_fit) / p_fit, one)]),
    )
    return Transform(p_fit, q_fit, agreeing, agreeing / max(1, min(overlapping)))


def _matches(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors that are each other's nearest, as indices into a and b."""
    one, other = (np.ascontiguousarray(x).view(np.uint64) for x in (a, b))
    distance = np.zeros((len(a), len(b)), np.int16)
    for word in range(one.shape[1]):
        distance += np.bitwise_count(one[:, word, None] ^ other[None, :, word])
    nearest = distance.argmin(axis=1)
    i = np.arange(len(a))
    mutual = (distance.argmin(axis=0)[nearest] == i) & (distance[i, nearest] <= _MOST_BITS)
    return i[mutual], nearest[mutual]


def _is_alike(p: np.ndarray | complex, others: np.ndarray) -> np.ndarray:
    """Whether rotations and scales are near."""
    ratio = p / others
    return (np.abs(np.angle(ratio)) <= _ANGLE) & (np.abs(np.log2(np.abs(ratio))) <= _OCTAVES)


def _fit(z: np.ndarray, w: np.ndarray) -> tuple[complex, complex]:
    """The least-squares p and q of w = p z + q. With all z equal, p is 0."""
    z_mean, w_mean = z.mean(), w.mean()
    centred = z - z_mean
    p = (centred.conj() @ (w - w_mean)) / max((np.abs(centred) ** 2).sum(), 1e-9)
    return p, w_mean - p * z_mean


def _within(z: np.ndarray, record: np.ndarray) -> np.ndarray:
    """Which points are in the image of a record."""
    x, y = z.real, z.imag
    return (x >= 0) & (y >= 0) & (x <= record["width"]) & (y <= record["height"])


def _distinct(z: np.ndarray) -> int:
    """How many points are more than about a pixel apart. SIFT lists a point once an angle."""
    return len(np.unique(np.rint(z)))
