"""open_clip: the image and the text tower of every model of open-clip-torch.

    open_clip:ViT-B-32/laion2b_s34b_b79k           a tag of the library, downloaded once
    open_clip:ViT-B-32//data/weights.safetensors   a file: MODEL, a slash, and its path
    open_clip:hf-hub:timm/ViT-B-16-SigLIP          a model of the hub that brings its configuration
    open_clip:local-dir:/data/my-clip              a folder that holds the same

Options: `precision` (fp32, bf16, fp16), `compile=true` (torch.compile), and what a file of weights
does not tell: `mean` and `std` (three numbers, or one), `interpolation`, `resize_mode`.
"""

import json
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from embedders.encoder import fingerprint, unit_rows
from embedders.encoders import device, weights
from embedders.media.image import load_rgb
from embedders.media.text import load_text
from store.errors import EncoderError

_SCHEMAS = ("hf-hub:", "local-dir:")
_CONFIG = "open_clip_config.json"
_VERSION = "1"


class Source(NamedTuple):
    """What open_clip calls a model and its weights: a tag, a file, or None where the model's name
    brings them."""

    model: str
    pretrained: str | None

    @classmethod
    def of(cls, name: str) -> "Source":
        if name.startswith(_SCHEMAS):
            return cls(name, None)
        model, _, pretrained = name.partition("/")
        if not pretrained:
            raise EncoderError(
                f"open_clip:{name} names no weights: open_clip:{model}/TAG or"
                f" open_clip:{model}//path/to/weights is expected{_tags(model)}"
            )
        is_path = "/" in pretrained or pretrained.startswith("~")
        return cls(model, str(Path(pretrained).expanduser()) if is_path else pretrained)


def make(
    name: str,
    modality: str = "image",
    precision: str | None = None,
    compile: str = "false",
    mean: str | None = None,
    std: str | None = None,
    interpolation: str | None = None,
    resize_mode: str | None = None,
) -> "ClipImage | ClipText":
    source, precision = Source.of(name), device.checked(precision)
    compiled = device.yes(compile, "compile")
    if modality == "text":
        return ClipText(source, precision, compiled)
    if modality != "image":
        raise EncoderError(f"open_clip:{name} has towers for image and text, none for {modality}")
    asked: dict[str, Any] = {"mean": _numbers(mean), "std": _numbers(std)}
    asked |= {"interpolation": interpolation, "resize_mode": resize_mode}
    given = {key: value for key, value in asked.items() if value is not None}
    return ClipImage(source, precision, compiled, given)


class _Tower:
    """What both towers share: the model, its width and its weights' name."""

    name: str
    version = _VERSION
    modality: str

    def __init__(self, source: Source, precision: str | None, compiled: bool):
        self.source = source
        self.name = f"open_clip-{self.modality}:{source.model}"
        self.precision = precision
        self.compiled = compiled

    @cached_property
    def dim(self) -> int:
        return _config(self.source)["model_cfg"]["embed_dim"]

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            self.name, self.version, _weights(self.source), settings=self._settings()
        )

    def _settings(self) -> Any:
        # What is taken by default depends on the machine and moves vectors by rounding alone.
        return self.precision

    @cached_property
    def _model(self) -> Any:
        import torch

        model = _model(self.source, device.precision(self.precision))
        return torch.compile(model) if self.compiled else model

    def _run(self, method: str, batch: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            inputs = self._inputs(device.to_device(batch))
            return unit_rows(device.to_numpy(getattr(self._model, method)(inputs)))

    def _inputs(self, tensor: Any) -> Any:
        return tensor


class ClipImage(_Tower):
    """Pixels go to the model as bytes and are normalised there."""

    modality = "image"

    def __init__(
        self, source: Source, precision: str | None, compiled: bool, given: dict[str, Any]
    ):
        super().__init__(source, precision, compiled)
        self.given = given

    @cached_property
    def _preprocess(self) -> Any:
        from open_clip.transform import PreprocessCfg

        return PreprocessCfg(**(_config(self.source)["preprocess_cfg"] | self.given))

    @cached_property
    def _transform(self) -> Any:
        from open_clip.transform import image_transform_v2
        from torchvision.transforms import Compose

        *on_pictures, _, _ = image_transform_v2(self._preprocess, is_train=False).transforms
        return Compose(on_pictures)  # to tensor and normalise follow on the device

    def _settings(self) -> Any:
        return self.precision, sorted(self.given.items())

    def prepare(self, raw: Any) -> np.ndarray:
        """uint8 (height, width, 3), as the model's own preprocessing cuts it."""
        height, width = _sides(self._preprocess.size)
        return np.asarray(self._transform(load_rgb(raw, max(height, width))))

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        return self._run("encode_image", np.stack(batch))

    def _inputs(self, tensor: Any) -> Any:
        from open_clip import get_input_dtype

        planes = tensor.permute(0, 3, 1, 2)
        pixels = device.normalised(planes, self._preprocess.mean, self._preprocess.std)
        return pixels.to(get_input_dtype(device.precision(self.precision)))


class ClipText(_Tower):
    """What does not fit the model's context, 77 tokens in most, is not read."""

    modality = "text"

    @cached_property
    def _tokenizer(self) -> Any:
        import open_clip

        return open_clip.get_tokenizer(self.source.model)

    def prepare(self, raw: bytes | str) -> np.ndarray:
        """int64 (context,)."""
        return self._tokenizer([load_text(raw)])[0].numpy()

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        return self._run("encode_text", np.stack(batch))


@cache
def _model(source: Source, precision: str) -> Any:
    """One model a process, whichever towers are asked for."""
    import open_clip

    try:
        model = open_clip.create_model(
            source.model, source.pretrained, precision=precision, require_pretrained=True
        )
    except Exception as error:
        raise EncoderError(f"open_clip:{_said(source)} cannot be loaded: {error}") from error
    return model.eval().to(device.device())


@cache
def _config(source: Source) -> dict[str, Any]:
    """`model_cfg` and `preprocess_cfg`, without the weights."""
    from dataclasses import asdict

    import open_clip
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    folder = _folder(source)
    if folder is not None:
        file = folder / _CONFIG
        if not file.is_file():
            raise EncoderError(f"open_clip:{source.model}: there is no {_CONFIG} in {folder}")
        found = json.loads(file.read_text())
        model, preprocess = found["model_cfg"], found.get("preprocess_cfg", {})
    else:
        model = open_clip.get_model_config(source.model)
        if model is None:
            close = ", ".join(m for m in open_clip.list_models() if source.model[:5] in m)
            raise EncoderError(
                f"open_clip has no model {source.model!r}; near to it: {close or 'none'}"
            )
        preprocess = open_clip.get_pretrained_cfg(source.model, source.pretrained) or {}
    merged = merge_preprocess_dict(asdict(PreprocessCfg()), preprocess)
    merged["size"] = model["vision_cfg"].get("image_size", merged["size"])
    return {"model_cfg": model, "preprocess_cfg": merged}


def _weights(source: Source) -> Path:
    """The file of weights, downloaded where it is a tag's and not here yet."""
    import open_clip

    folder = _folder(source)
    if folder is not None:
        files = [f for f in weights.model_files(folder) if f.suffix not in (".json", ".txt")]
        if not files:
            raise EncoderError(f"open_clip:{source.model}: there are no weights in {folder}")
        return files[0]
    pretrained = source.pretrained or ""
    if "/" in pretrained:
        if not Path(pretrained).is_file():
            raise EncoderError(f"open_clip:{_said(source)}: there is no file {pretrained}")
        return Path(pretrained)
    config = open_clip.get_pretrained_cfg(source.model, pretrained)
    if not config:
        raise EncoderError(
            f"open_clip:{source.model} has no weights {pretrained!r}{_tags(source.model)}"
        )
    try:
        return Path(open_clip.download_pretrained(config))
    except Exception as error:
        raise EncoderError(f"open_clip:{_said(source)} cannot be downloaded: {error}") from error


def _folder(source: Source) -> Path | None:
    for schema in _SCHEMAS:
        if source.model.startswith(schema):
            return weights.hub_folder(source.model.removeprefix(schema))
    return None


def _said(source: Source) -> str:
    return "/".join(part for part in source if part)


def _tags(model: str) -> str:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model)
    return f"; its tags: {', '.join(tags)}" if tags else ""


def _sides(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _numbers(option: str | None) -> tuple[float, ...] | None:
    if option is None:
        return None
    try:
        numbers = tuple(float(number) for number in option.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise EncoderError(f"{option!r}: one number or three are expected, such as 0.5")
    return numbers * (3 // len(numbers))
