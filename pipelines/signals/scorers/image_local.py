"""Local features of an image, by which crops and rotated copies of it are found.

The features are SIFT keypoints (Lowe 2004) of the grey image, the strongest first. A descriptor is
stored as 256 bits: RootSIFT (Arandjelovic and Zisserman 2012), less the typical descriptor, is
projected on random directions, and the signs are kept (Charikar 2002). So the share of equal bits
measures the angle between descriptors.

The directions come in pairs that are mirror images of each other. The descriptor of a mirrored
image has the bits of the original with the halves exchanged, so that mirrored copies are found too
without a measurement of their own.

OpenCV is needed, and imported only here: `pip install 'isotrope[crops]'`.
"""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from pipelines.signals.scorer import DecodedImage, ImageScorer, Values
from store.errors import EncoderError
from store.tables.signals import KEYPOINTS, SCORERS, VIEW

# x and y are fractions of width and height, of 65,535. The logarithm of the size is in
# `SIZES` steps an octave, the angle in 256 steps a turn, clockwise.
KEYPOINT = np.dtype(
    [("bits", "u1", 32), ("x", "<u2"), ("y", "<u2"), ("size", "u1"), ("angle", "u1")]
)
# `count` keypoints are filled. Width and height are those of the measured image, in pixels.
FEATURES = np.dtype(
    [("count", "<u2"), ("width", "<u2"), ("height", "<u2"), ("keypoints", KEYPOINT, KEYPOINTS)]
)
SIZES = 16  # steps of a keypoint's size in an octave
_LEAST_SIDE, _MOST_ENLARGED = 256, 4.0  # small images are enlarged: SIFT needs room around a point
_CONTRAST, _EDGE = 0.03, 15.0  # of a keypoint; OpenCV's defaults are 0.04 and 10
_CELLS, _ORIENTATIONS = 4, 8  # of a descriptor: 4 x 4 cells of 8 orientations
# The typical RootSIFT descriptor, as a product: there is more in the middle cells, and along the
# keypoint's own direction. Means of 949 drawings; photographs are alike.
_OF_ROW, _OF_COLUMN = (0.9, 1.1, 1.1, 0.9), (0.81, 1.19, 1.19, 0.81)
_OF_ORIENTATION = (0.119, 0.063, 0.038, 0.044, 0.062, 0.044, 0.038, 0.063)


def score(image: DecodedImage) -> Values:
    """`image_keypoints`: bytes of one record of `FEATURES`.
    `image_view`: 64 x 64 RGB pixels, whatever the aspect ratio.

    Raises:
        EncoderError: OpenCV is not installed.
    """
    view = image.rgb.resize((VIEW, VIEW), Image.Resampling.BOX)
    return {"image_keypoints": features(image.luma).tobytes(), "image_view": view.tobytes()}


def features(grey: np.ndarray) -> np.ndarray:
    """The local features of an image.

    Args:
        grey: uint8 (height, width).

    Returns:
        One record of `FEATURES`, without keypoints where the image is flat.

    Raises:
        EncoderError: OpenCV is not installed.
    """
    out = np.zeros((), FEATURES)
    out["height"], out["width"] = height, width = grey.shape
    scale = min(_MOST_ENLARGED, max(1.0, _LEAST_SIDE / min(grey.shape)))
    size = round(width * scale), round(height * scale)
    if scale > 1:
        grey = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    points, descriptors = detector().detectAndCompute(grey, None)
    if not points:
        return out
    rows = np.array([(*p.pt, p.size, p.angle, p.response) for p in points], np.float64)
    order = np.argsort(-rows[:, 4], kind="stable")[:KEYPOINTS]
    x, y, diameter, angle, _ = rows[order].T
    keypoints = np.zeros(KEYPOINTS, KEYPOINT)
    found = keypoints[: len(order)]
    found["bits"] = signs(descriptors[order])
    for name, value, side in (("x", x, size[0]), ("y", y, size[1])):
        found[name] = np.clip(np.rint((value + 0.5) / side * 65_535), 0, 65_535)
    found["size"] = np.clip(np.rint(np.log2(diameter / scale) * SIZES + 64), 0, 255)
    found["angle"] = np.rint(angle / 360 * 256).astype(np.int64) % 256
    out["count"], out["keypoints"] = len(order), keypoints
    return out


def signs(descriptors: np.ndarray) -> np.ndarray:
    """SIFT descriptors (n, 128) as 256 bits each, uint8 (n, 32)."""
    total = descriptors.sum(axis=1, keepdims=True)
    root = np.sqrt(descriptors / np.maximum(total, 1e-9))
    return np.packbits((root - _TYPICAL) @ _DIRECTIONS > 0, axis=1)


def mirrored(records: np.ndarray) -> np.ndarray:
    """The features (...,) that the images would have if left and right were exchanged."""
    out = records.copy()
    keypoints, half = out["keypoints"], out["keypoints"]["bits"].shape[-1] // 2
    keypoints["bits"] = np.roll(keypoints["bits"], half, axis=-1)
    keypoints["x"] = 65_535 - keypoints["x"]
    keypoints["angle"] = (128 - keypoints["angle"].astype(np.int16)) % 256
    return out


def points(records: np.ndarray) -> np.ndarray:
    """The keypoints of records (n,) of `FEATURES`, one image after the other, as complex128, in
    pixels of the measured images."""
    keypoints, count = records["keypoints"], records["count"][:, None]
    filled = np.arange(keypoints.shape[1]) < count
    x = keypoints["x"] * (records["width"][:, None] / 65_535)
    y = keypoints["y"] * (records["height"][:, None] / 65_535)
    return (x + 1j * y)[filled]


@cache
def detector() -> Any:
    """OpenCV's SIFT, with the settings of the features.

    Raises:
        EncoderError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise EncoderError(
            "duplicates.crops needs OpenCV, which is not installed: pip install 'isotrope[crops]'"
        ) from error
    cv2.setNumThreads(1)  # the workers are processes
    return cv2.SIFT.create(KEYPOINTS, contrastThreshold=_CONTRAST, edgeThreshold=_EDGE)


def _directions() -> np.ndarray:
    """(128, 256) float32 random directions, and their mirror images."""
    shape = _CELLS, _CELLS, _ORIENTATIONS
    cells = np.arange(np.prod(shape)).reshape(shape)
    # A mirror keeps the cells along the keypoint's direction, and exchanges those beside it.
    mirror = cells[::-1][:, :, -np.arange(_ORIENTATIONS) % _ORIENTATIONS].ravel()
    one = np.random.default_rng(0).standard_normal((cells.size, 128), np.float32)
    return np.concatenate([one, one[mirror]], axis=1)


_DIRECTIONS = _directions()
_TYPICAL = np.einsum("r,c,o->rco", _OF_ROW, _OF_COLUMN, _OF_ORIENTATION).ravel().astype(np.float32)
LOCAL = ImageScorer("image_local", SCORERS["image_local"].names, ("image_id", "image"), score)
