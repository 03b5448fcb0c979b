"""Image classifiers from files, such as aesthetic heads and watermark detectors.

LAION-5B's aesthetic and watermark scores and DataComp's filters are such models. One number of the
model's output is the signal.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embedders.encoders.weights import check_tensors_only
from pipelines.signals.scorer import DecodedImage, ImageScorer, Values
from pipelines.signals.scorers.onnx_models import open_session
from store.config.signals import Classifier
from store.errors import EncoderError

Network = Callable[[np.ndarray], np.ndarray]  # (1, 3, side, side) to the model's output

_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
}


def classifier(name: str, config: Classifier, path: Path) -> ImageScorer:
    """Make the scorer of a classifier.

    Args:
        name: of the scorer, and of its column.
        path: of the weights.

    Returns:
        The scorer. It loads the model at its first image, and raises EncoderError if the model
        cannot be loaded or has no output of the configured number.
    """

    def score(image: DecodedImage) -> Values:
        run = network(config.model.partition(":")[0], str(path))
        values = np.asarray(run(_input(image, config)), np.float64).reshape(-1)
        if config.output >= len(values):
            raise EncoderError(
                f"{path} gives {len(values)} values, there is no {config.output}: set `output` to"
                f" 0 to {len(values) - 1}"
            )
        return {name: float(_ACTIVATIONS[config.activation](values)[config.output])}

    return ImageScorer(name, (name,), ("image_id", "image"), score)


def _input(image: DecodedImage, config: Classifier) -> np.ndarray:
    """Float32 (1, 3, side, side): the central square of the image, resized and normalised."""
    width, height = image.rgb.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    side = (config.side, config.side)
    small = image.rgb.resize(side, Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(small, np.float32) / 255
    normal = (pixels - np.asarray(config.mean, np.float32)) / np.asarray(config.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


@cache
def network(kind: str, path: str) -> Network:
    """Load a model with its weights, once per process.

    Args:
        kind: `onnx` or `timm/ARCHITECTURE`.

    Raises:
        EncoderError: the model cannot be loaded.
    """
    if kind == "onnx":
        model = open_session(Path(path))
        name = model.get_inputs()[0].name
        return lambda x: model.run(None, {name: x})[0]
    return _timm(kind.removeprefix("timm/"), path)


def _timm(architecture: str, path: str) -> Network:
    import timm
    import torch
    from timm.models import load_checkpoint, load_state_dict

    check_tensors_only(Path(path))
    try:
        weights = load_state_dict(path, weights_only=True)
        model = timm.create_model(architecture, num_classes=_count_classes(weights)).eval()
        load_checkpoint(model, path, weights_only=True)
    except Exception as error:  # timm and torch raise many types
        raise EncoderError(f"{path}: timm cannot load {architecture!r}: {error}") from error
    torch.set_num_threads(1)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return run


def _count_classes(weights: dict[str, Any]) -> int:
    """The number of outputs of a checkpoint's classifier: the length of its last bias."""
    return [len(v) for k, v in weights.items() if k.endswith("bias")][-1]
