"""Images in the local space: EfficientNet-Lite, used by ConSE and by a learned head.

ConSE (Norouzi et al. 2014): the MiniLM vectors of the 1,000 ImageNet class names, averaged with the
image's class probabilities. It needs no training, and its vectors are in the space of the text's.
"""

import runpy
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from embedders.encoder import fingerprint, unit_rows
from embedders.local.packages import efficientnet_file, package_file
from embedders.local.shared import DIM, MEANING_SHARE, head, head_file, join_parts
from embedders.local.text import LocalText
from embedders.media.image import load_rgb

SIZES = {0: 224, 2: 260}  # side of the images in pixels, by size of EfficientNet-Lite
# Channels of the four depths of each.
DEPTH_DIMS = {0: (40, 112, 320, 1280), 2: (48, 120, 352, 1280)}
# The share of the square that the image is fitted into. Drawings reach to their own edges.
_MARGIN = 0.9
_CLASSES = 50
_TEMPERATURE = 2.0


class ImageFeatures(NamedTuple):
    """Features of n images.

    Attributes:
        meaning: float32 (n, 384), ConSE's unit rows.
        visual: float32 (n, 3552), the features of both networks. They are the input of the head.
    """

    meaning: np.ndarray
    visual: np.ndarray


class LocalImage:
    """Encodes images with EfficientNet-Lite0 and Lite2 together.

    ConSE takes the mean of their logits (the 50 most probable classes at temperature 2), and the
    head takes their features of four depths. The whole image is fitted into a square on white: with
    centre crops, retrieval is worse.
    """

    name = "local-image"
    version = "2"
    modality = "image"
    dim = DIM
    layer_dims = tuple(map(sum, zip(*DEPTH_DIMS.values(), strict=True)))

    @cached_property
    def fingerprint(self) -> str:
        files = [efficientnet_file(size) for size in SIZES]
        files += [package_file("open_clip", "zero_shot_metadata.py"), head_file("image")]
        settings = (SIZES, _MARGIN, _CLASSES, _TEMPERATURE, MEANING_SHARE, LocalText().fingerprint)
        return fingerprint(self.name, self.version, *files, settings=settings)

    @cached_property
    def _models(self) -> dict[int, Any]:
        from embedders.local.efficientnet import EfficientNetLite

        return {size: EfficientNetLite(size, efficientnet_file(size)) for size in SIZES}

    @cached_property
    def _class_vectors(self) -> np.ndarray:
        # Only this file is run: importing all of open_clip takes longer than encoding the names.
        path = package_file("open_clip", "zero_shot_metadata.py")
        names = list(runpy.run_path(str(path))["IMAGENET_CLASSNAMES"])
        return LocalText().features(names)

    def prepare(self, raw: Any) -> tuple[np.ndarray, ...]:
        """Load an image in the size of each network.

        Returns:
            uint8 (side, side, 3) for each of SIZES.

        Raises:
            RecordError: the rules of `embedders.media.image.load_rgb`.
        """
        image = load_rgb(raw, max(SIZES.values()))
        return tuple(_fit_square(image, side) for side in SIZES.values())

    def features(self, batch: list[tuple[np.ndarray, ...]]) -> ImageFeatures:
        """The features of prepared images, before the head."""
        outputs = [
            model(np.stack(images))
            for model, images in zip(self._models.values(), zip(*batch, strict=True), strict=True)
        ]
        logits = np.mean([output.logits for output in outputs], axis=0)
        meaning = unit_rows(_class_probabilities(logits) @ self._class_vectors)
        return ImageFeatures(meaning, np.concatenate([o.features for o in outputs], axis=1))

    def encode_layers(
        self, batch: list[tuple[np.ndarray, ...]]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """The features of four depths, of both networks side by side, and the vectors."""
        features = self.features(batch)
        visual, widths = features.visual, list(DEPTH_DIMS.values())
        ends = np.cumsum([sum(dims) for dims in widths])[:-1]
        networks = [
            np.split(rows, np.cumsum(dims)[:-1], axis=1)
            for rows, dims in zip(np.split(visual, ends, axis=1), widths, strict=True)
        ]
        depths = [np.concatenate(depth, axis=1) for depth in zip(*networks, strict=True)]
        return depths, _vectors(features)

    def encode(self, batch: list[tuple[np.ndarray, ...]]) -> np.ndarray:
        return _vectors(self.features(batch))


def _vectors(features: ImageFeatures) -> np.ndarray:
    return join_parts(features.meaning, head("image")(features.visual))


def _fit_square(image: Image.Image, side: int) -> np.ndarray:
    """Fit an image into the middle of a white square, uint8 (side, side, 3)."""
    scale = side * _MARGIN / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    square = Image.new("RGB", (side, side), "white")
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(resized, ((side - width) // 2, (side - height) // 2))
    return np.asarray(square)


def _class_probabilities(logits: np.ndarray) -> np.ndarray:
    """Class probabilities (n, 1000) of the 50 most probable classes; all others are zero."""
    scaled = logits / _TEMPERATURE
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    threshold = np.partition(weights, -_CLASSES, axis=1)[:, [-_CLASSES]]
    weights[weights < threshold] = 0
    return weights / weights.sum(axis=1, keepdims=True)
