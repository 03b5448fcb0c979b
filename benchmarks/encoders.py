"""Encoders that cost nothing, for what the pipeline costs by itself, and CLIP of random weights."""

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
    """Every text gets the same vector."""

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
    """Every image gets the same vector, and is not looked at."""

    modality = "image"


def square(raw: Any, side: int) -> np.ndarray:
    """uint8 (side, side, 3): the shorter side resized, the middle cut out, as CLIP does."""
    picture = load_rgb(raw, side)
    scale = side / min(picture.size)
    width, height = (max(side, round(length * scale)) for length in picture.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + side, top + side)))


class DecodedImage(NullImage):
    """As NullImage, though every image is decoded and resized to 224 pixels."""

    def prepare(self, raw: Any) -> np.ndarray:
        return square(raw, 224)


class Clip:
    """The image tower of an open_clip model with random weights: bf16 on a GPU, else float32."""

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
            # Bytes cross to the GPU, a quarter of what floats would take; it does the rest.
            there = pixels.to(weight.device, non_blocking=True).permute(0, 3, 1, 2)
            mean, deviation = (
                torch.tensor(v, device=weight.device).view(1, 3, 1, 1) for v in (_MEAN, _DEVIATION)
            )
            inputs = ((there.float() / 255 - mean) / deviation).to(weight.dtype)
            return unit_rows(self._tower(inputs).float().cpu().numpy())


def b32() -> Clip:
    return Clip("ViT-B-32", 512)


def l14() -> Clip:
    return Clip("ViT-L-14", 768)


class Tiny(Clip):
    """A tower of one layer, so that what runs on a GPU can be tried without."""

    @cached_property
    def _tower(self) -> Any:
        import torch
        from open_clip.transformer import VisionTransformer

        torch.manual_seed(0)
        return VisionTransformer(self.side, 16, 64, 1, 2, 2.0, output_dim=self.dim).eval()


def tiny() -> Tiny:
    return Tiny("tiny", 32, 64)
