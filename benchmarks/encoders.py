"""Encoders for the benchmarks: encoders without cost, and CLIP towers with random weights.

An encoder without cost returns a constant vector, so that a benchmark measures the pipeline alone.
"""

from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from embedders.encoder import unit_rows
from embedders.media.image import load_rgb

_DIM = 512
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class NullText:
    """Gives the same vector to every text."""

    name = "null"
    version = "1"
    modality = "text"
    dim = _DIM
    fingerprint = "null@1"

    def prepare(self, raw: Any) -> Any:
        return raw

    def encode(self, batch: list[Any]) -> np.ndarray:
        return unit_rows(np.ones((len(batch), self.dim), np.float32))


class NullImage(NullText):
    """Gives the same vector to every image, without decoding it."""

    modality = "image"


def square(raw: Any, side: int) -> np.ndarray:
    """An image as uint8 (side, side, 3): its shorter side is resized to `side` and its centre is
    cropped, as CLIP does."""
    image = load_rgb(raw, side)
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + side, top + side)))


class DecodedImage(NullImage):
    """As NullImage, but decodes every image and resizes it to 224 pixels."""

    def prepare(self, raw: Any) -> np.ndarray:
        return square(raw, 224)


class Clip:
    """An image tower of open_clip with random weights, in bfloat16 on a GPU and else in float32."""

    version = "random"
    modality = "image"

    def __init__(self, model: str, dim: int, side: int = 224):
        self.name, self.dim, self.side = model, dim, side
        self.fingerprint = f"{model}@random"

    @cached_property
    def _tower(self) -> Any:
        import open_clip
        import torch

        torch.manual_seed(0)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        kind = torch.bfloat16 if device == "cuda" else torch.float32
        tower = open_clip.create_model(self.name, pretrained=None).visual
        return tower.eval().to(device, kind)

    def prepare(self, raw: Any) -> np.ndarray:
        return square(raw, self.side)

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        import torch

        weight = next(self._tower.parameters())
        pixels = torch.empty((len(batch), self.side, self.side, 3), dtype=torch.uint8)
        pixels = pixels.pin_memory() if weight.is_cuda else pixels
        np.stack(batch, out=pixels.numpy())
        with torch.inference_mode():
            # Bytes are copied to the GPU, a quarter of the size of floats; the GPU converts them.
            on_device = pixels.to(weight.device, non_blocking=True).permute(0, 3, 1, 2)
            mean, deviation = (
                torch.tensor(v, device=weight.device).view(1, 3, 1, 1) for v in (_MEAN, _DEVIATION)
            )
            inputs = ((on_device.float() / 255 - mean) / deviation).to(weight.dtype)
            return unit_rows(self._tower(inputs).float().cpu().numpy())


def b32() -> Clip:
    return Clip("ViT-B-32", 512)


def l14() -> Clip:
    return Clip("ViT-L-14", 768)


class Tiny(Clip):
    """A tower of one layer, to try the GPU benchmark on a machine without a GPU."""

    @cached_property
    def _tower(self) -> Any:
        import torch
        from open_clip.transformer import VisionTransformer

        torch.manual_seed(0)
        return VisionTransformer(self.side, 16, 64, 1, 2, 2.0, output_dim=self.dim).eval()


def tiny() -> Tiny:
    return Tiny("tiny", 32, 64)
