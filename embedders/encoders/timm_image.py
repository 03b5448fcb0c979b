"""Image encoders of the library timm, to align to others. The vectors are the pooled features.

    timm:vit_small_patch14_dinov2.lvd142m      a model of the hub, downloaded once
    timm:resnet18//data/weights.safetensors    MODEL, a slash, and the path of a file of weights

Option: `precision` (fp32, bf16, fp16).
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import fingerprint, unit_rows
from embedders.encoders import device
from embedders.encoders.weights import check_tensors_only
from embedders.media.image import load_rgb
from store.errors import EncoderError


def make(name: str, precision: str | None = None) -> "TimmImage":
    model, _, path = name.partition("/")
    file = Path(path).expanduser() if path else None
    if file is not None and not file.is_file():
        raise EncoderError(f"timm:{name}: there is no file {file}")
    return TimmImage(model, file, device.check_precision(precision))


class TimmImage:
    """Encodes images. Pixels are copied to the device as bytes and normalised there.

    Args:
        model: its name in timm.
        file: its weights; None downloads them.
        precision: None is the device's default.
    """

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
            raise EncoderError(
                f"timm:{self.model} has no weights on the hub: give a file, as in"
                f" timm:{self.model}//path/to/weights"
            )
        try:
            return Path(hf_hub_download(config.hf_hub_id, "model.safetensors"))
        except Exception as error:
            raise EncoderError(f"timm:{self.model} cannot be downloaded: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.name, self.version, self._weights, settings=self.precision)

    @cached_property
    def _skeleton(self) -> Any:
        """The model without weights, which takes no memory. It has the widths and sizes."""
        import timm
        import torch

        try:
            with torch.device("meta"):
                return timm.create_model(self.model, num_classes=0)
        except RuntimeError as error:
            raise EncoderError(f"timm:{self.model}: {error}") from error

    @cached_property
    def dim(self) -> int:
        return self._skeleton.num_features

    @cached_property
    def layer_dims(self) -> list[int]:
        """The channels of what timm calls intermediates: blocks of transformers, or stages.

        Raises:
            EncoderError: the model has none.
        """
        import torch

        pixels = torch.empty(1, *self._data_config["input_size"], device="meta")
        *blocks, _ = self._blocks_and_output(self._skeleton, pixels)
        return [block.shape[1] for block in blocks]

    def _blocks_and_output(self, model: Any, pixels: Any) -> list[Any]:
        """Positions after each block (n, channels, height, width), and the output (n, dim)."""
        if not hasattr(model, "forward_intermediates"):
            raise EncoderError(f"timm:{self.model} offers no layers")
        last, blocks = model.forward_intermediates(pixels, output_fmt="NCHW")
        return [*blocks, model.forward_head(last)]

    @cached_property
    def _data_config(self) -> dict[str, Any]:
        from timm.data import resolve_model_data_config

        return resolve_model_data_config(self._skeleton)

    @cached_property
    def _transform(self) -> Any:
        from timm.data import create_transform

        # With use_prefetcher, timm leaves pixels as bytes, to be normalised on the device.
        return create_transform(**self._data_config, is_training=False, use_prefetcher=True)

    @cached_property
    def _model(self) -> Any:
        import timm

        check_tensors_only(self._weights)  # timm has no option for it here
        # timm leaves out the classifier's layer of a file only if the file is given as the
        # model's pretrained weights.
        overlay = {"file": str(self._weights)}
        model = timm.create_model(
            self.model, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
        )
        return model.eval().to(device.device())

    def prepare(self, raw: Any) -> np.ndarray:
        """Resize and crop an image as the model's own preprocessing does.

        Returns:
            uint8 (3, height, width).

        Raises:
            RecordError: the rules of `embedders.media.image.load_rgb`.
        """
        _, *sides = self._data_config["input_size"]
        side_before_crop = round(max(sides) / self._data_config["crop_pct"])
        return self._transform(load_rgb(raw, side_before_crop))

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        return unit_rows(self._run(batch, lambda model, pixels: [model(pixels)])[0])

    def encode_layers(self, batch: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """The mean over positions after each block or stage, and the vectors."""

        def pooled(model: Any, pixels: Any) -> list[Any]:
            *blocks, output = self._blocks_and_output(model, pixels)
            return [*(block.mean((2, 3)) for block in blocks), output]

        *layers, vectors = self._run(batch, pooled)
        return layers, unit_rows(vectors)

    def _run(
        self, batch: list[np.ndarray], outputs_of: Callable[[Any, Any], list[Any]]
    ) -> list[np.ndarray]:
        import torch

        with torch.inference_mode(), device.autocast(self.precision):
            planes = device.to_device(np.stack(batch))
            pixels = device.normalise_pixels(
                planes, self._data_config["mean"], self._data_config["std"]
            )
            return [device.to_numpy(each) for each in outputs_of(self._model, pixels)]
