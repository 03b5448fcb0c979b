"""timm: image towers to align to others, by the model's pooled features.

    timm:vit_small_patch14_dinov2.lvd142m      a model of the hub, downloaded once
    timm:resnet18//data/weights.safetensors    MODEL, a slash, and a file of weights

Option: `precision` (fp32, bf16, fp16).
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import fingerprint, unit_rows
from embedders.encoders import device
from embedders.media.image import load_rgb
from store.errors import EncoderError


def make(name: str, precision: str | None = None) -> "TimmImage":
    model, _, path = name.partition("/")
    file = Path(path).expanduser() if path else None
    if file is not None and not file.is_file():
        raise EncoderError(f"timm:{name}: there is no file {file}")
    return TimmImage(model, file, device.checked(precision))


class TimmImage:
    """Pixels go to the model as bytes and are normalised there."""

    name: str
    version = "1"
    modality = "image"

    def __init__(self, model: str, file: Path | None, precision: str | None):
        self.model = model
        self.file = file
        self.precision = precision
        self.name = f"timm:{model}"

    @cached_property
    def _weights(self) -> Path:
        if self.file is not None:
            return self.file
        from huggingface_hub import hf_hub_download
        from timm import get_pretrained_cfg

        config = get_pretrained_cfg(self.model)
        if config is None or not config.hf_hub_id:
            raise EncoderError(f"timm:{self.model} has no weights on the hub: give a file of them")
        try:
            return Path(hf_hub_download(config.hf_hub_id, "model.safetensors"))
        except Exception as error:
            raise EncoderError(f"timm:{self.model} cannot be downloaded: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.name, self.version, self._weights, settings=self.precision)

    @cached_property
    def _blank(self) -> Any:
        """The model without weights, which takes no memory and tells widths and sizes."""
        import timm
        import torch

        try:
            with torch.device("meta"):
                return timm.create_model(self.model, num_classes=0)
        except RuntimeError as error:
            raise EncoderError(f"timm:{self.model}: {error}") from error

    @cached_property
    def dim(self) -> int:
        return self._blank.num_features

    @cached_property
    def _data(self) -> dict[str, Any]:
        from timm.data import resolve_model_data_config

        return resolve_model_data_config(self._blank)

    @cached_property
    def _transform(self) -> Any:
        from timm.data import create_transform

        # With its prefetcher, timm leaves bytes as they are, to be normalised on the device.
        return create_transform(**self._data, is_training=False, use_prefetcher=True)

    @cached_property
    def _model(self) -> Any:
        import timm

        # As pretrained weights, a classifier's last layer is left out of them.
        place = {"file": str(self._weights)}
        model = timm.create_model(
            self.model, pretrained=True, num_classes=0, pretrained_cfg_overlay=place
        )
        return model.eval().to(device.device())

    def prepare(self, raw: Any) -> np.ndarray:
        """uint8 (3, height, width), as the model's own preprocessing cuts it."""
        _, *sides = self._data["input_size"]
        enough = round(max(sides) / self._data["crop_pct"])
        return self._transform(load_rgb(raw, enough))

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        import torch

        with torch.inference_mode(), device.autocast(self.precision):
            planes = device.to_device(np.stack(batch))
            pixels = device.normalised(planes, self._data["mean"], self._data["std"])
            return unit_rows(device.to_numpy(self._model(pixels)))
