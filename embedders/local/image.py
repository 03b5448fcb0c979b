"""Pictures: EfficientNet-Lite, read as ConSE and by a learned head.

ConSE (Norouzi et al. 2014): the MiniLM embeddings of the 1,000 ImageNet class names, averaged with
the picture's class probabilities. It needs no training and lies in the text's own space.
"""

import runpy
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from embedders.encoder import fingerprint, unit_rows
from embedders.local.packages import efficientnet_file, package_file
from embedders.local.shared import DIM, SHARE, head, head_file, joined
from embedders.local.text import LocalText
from embedders.media.image import load_rgb

SIZES = {0: 224, 2: 260}  # EfficientNet-Lite0 and 2, and the sides of their pictures
_MARGIN = 0.9  # of the square that the whole picture is fitted into; drawings reach their edges
_CLASSES = 50
_TEMPERATURE = 2.0


class ImageFeatures(NamedTuple):
    """ConSE's unit rows, float32 (n, 384), and what the head takes, float32 (n, 3552)."""

    meaning: np.ndarray
    seen: np.ndarray


class LocalImage:
    """EfficientNet-Lite0 and 2 together: the mean of their logits for ConSE (the 50 likeliest
    classes at temperature 2), features of four depths for the head.

    The whole picture is fitted into the square on white: centre crops find less.
    """

    name = "local-image"
    version = "2"
    modality = "image"
    dim = DIM

    @cached_property
    def fingerprint(self) -> str:
        files = [efficientnet_file(size) for size in SIZES]
        files += [package_file("open_clip", "zero_shot_metadata.py"), head_file("image")]
        settings = (SIZES, _MARGIN, _CLASSES, _TEMPERATURE, SHARE, LocalText().fingerprint)
        return fingerprint(self.name, self.version, *files, settings=settings)

    @cached_property
    def _models(self) -> dict[int, Any]:
        from embedders.local.efficientnet import EfficientNetLite

        return {size: EfficientNetLite(size, efficientnet_file(size)) for size in SIZES}

    @cached_property
    def _class_vectors(self) -> np.ndarray:
        # The file alone: importing the whole of open_clip takes longer than embedding the names.
        path = package_file("open_clip", "zero_shot_metadata.py")
        names = list(runpy.run_path(str(path))["IMAGENET_CLASSNAMES"])
        return LocalText().features(names)

    def prepare(self, raw: Any) -> tuple[np.ndarray, ...]:
        """The picture in each network's size: uint8 (side, side, 3)."""
        picture = load_rgb(raw, max(SIZES.values()))
        return tuple(_square(picture, side) for side in SIZES.values())

    def features(self, batch: list[tuple[np.ndarray, ...]]) -> ImageFeatures:
        seen = [
            model(np.stack(pictures))
            for model, pictures in zip(self._models.values(), zip(*batch, strict=True), strict=True)
        ]
        logits = np.mean([s.logits for s in seen], axis=0)
        meaning = unit_rows(_likeliest(logits) @ self._class_vectors)
        return ImageFeatures(meaning, np.concatenate([s.features for s in seen], axis=1))

    def encode(self, batch: list[tuple[np.ndarray, ...]]) -> np.ndarray:
        found = self.features(batch)
        return joined(found.meaning, head("image")(found.seen))


def _square(picture: Image.Image, side: int) -> np.ndarray:
    scale = side * _MARGIN / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    square = Image.new("RGB", (side, side), "white")
    small = picture.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(small, ((side - width) // 2, (side - height) // 2))
    return np.asarray(square)


def _likeliest(logits: np.ndarray) -> np.ndarray:
    """Class probabilities (n, 1000) with all but the likeliest set to zero."""
    scaled = logits / _TEMPERATURE
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    threshold = np.partition(weights, -_CLASSES, axis=1)[:, [-_CLASSES]]
    weights[weights < threshold] = 0
    return weights / weights.sum(axis=1, keepdims=True)
