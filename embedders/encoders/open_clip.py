"""open_clip: the image and the text encoder of every model of open-clip-torch.

    open_clip:ViT-B-32/laion2b_s34b_b79k           a tag of the library, downloaded once
    open_clip:ViT-B-32//data/weights.safetensors   MODEL, a slash, and the path of a file of weights
    open_clip:hf-hub:timm/ViT-B-16-SigLIP          a model of the hub with its own configuration
    open_clip:local-dir:/data/my-clip              a folder with the same content

Options: `precision` (fp32, bf16, fp16), `compile=true` (torch.compile), and the preprocessing,
which a file of weights does not contain: `mean` and `std` (three numbers, or one), `interpolation`,
`resize_mode`.
"""

from functools import cache, cached_property
from typing import Any

import numpy as np

from embedders.encoder import fingerprint, unit_rows
from embedders.encoders import device, open_clip_layers, open_clip_tokens
from embedders.encoders.open_clip_source import Source, model_config, parse_source, weights_file
from embedders.encoders.weights import check_tensors_only
from embedders.media.image import load_rgb
from embedders.media.text import load_text
from store.errors import EncoderError

_VERSION = "1"


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
    source, precision = parse_source(name), device.check_precision(precision)
    compiled = device.check_bool(compile, "compile")
    if modality == "text":
        return ClipText(source, precision, compiled)
    if modality != "image":
        raise EncoderError(f"open_clip:{name} has towers for image and text, none for {modality}")
    options: dict[str, Any] = {"mean": _three_numbers(mean), "std": _three_numbers(std)}
    options |= {"interpolation": interpolation, "resize_mode": resize_mode}
    preprocess = {key: value for key, value in options.items() if value is not None}
    return ClipImage(source, precision, compiled, preprocess)


class _Tower:
    """What both towers share: the model, its width and its fingerprint."""

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
        return model_config(self.source)["model_cfg"]["embed_dim"]

    @cached_property
    def fingerprint(self) -> str:
        file = weights_file(self.source)
        return fingerprint(self.name, self.version, file, settings=self._settings())

    def _settings(self) -> Any:
        # The device's default precision is left out: it differs between machines and changes the
        # vectors only by rounding.
        return self.precision

    @cached_property
    def _model(self) -> Any:
        import torch

        model = _model(self.source, device.precision(self.precision))
        return torch.compile(model) if self.compiled else model

    @property
    def token_dim(self) -> int:
        return self.dim

    @cached_property
    def layer_dims(self) -> tuple[int, ...]:
        return open_clip_layers.layer_dims(model_config(self.source)["model_cfg"], self.modality)

    def _run(self, method: str, batch: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            inputs = self._model_input(device.to_device(batch))
            return unit_rows(device.to_numpy(getattr(self._model, method)(inputs)))

    def _run_inner(self, outputs_of: Any, batch: np.ndarray) -> list[np.ndarray]:
        import torch

        with torch.inference_mode():
            inputs = self._model_input(device.to_device(batch))
            return [device.to_numpy(each) for each in outputs_of(self._model, inputs)]

    def _run_layers(self, of: Any, batch: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        *layers, vectors = self._run_inner(of, batch)
        return layers, unit_rows(vectors)

    def _model_input(self, batch: Any) -> Any:
        return batch


class ClipImage(_Tower):
    """Encodes images. Pixels are copied to the device as bytes and normalised there.

    Args:
        source: the model.
        precision: None is the device's default.
        compiled: run the model through torch.compile.
        preprocess: values that replace those of the model's own preprocessing.
    """

    modality = "image"

    def __init__(
        self, source: Source, precision: str | None, compiled: bool, preprocess: dict[str, Any]
    ):
        super().__init__(source, precision, compiled)
        self.preprocess = preprocess

    @cached_property
    def _preprocess(self) -> Any:
        from open_clip.transform import PreprocessCfg

        return PreprocessCfg(**(model_config(self.source)["preprocess_cfg"] | self.preprocess))

    @cached_property
    def _transform(self) -> Any:
        from open_clip.transform import image_transform_v2
        from torchvision.transforms import Compose

        # The last two steps, conversion to a tensor and normalisation, run on the device.
        *resizing, _, _ = image_transform_v2(self._preprocess, is_train=False).transforms
        return Compose(resizing)

    def _settings(self) -> Any:
        return self.precision, sorted(self.preprocess.items())

    def prepare(self, raw: Any) -> np.ndarray:
        """Resize and crop an image as the model's own preprocessing does.

        Returns:
            uint8 (height, width, 3).

        Raises:
            RecordError: the rules of `embedders.media.image.load_rgb`.
        """
        size = self._preprocess.size
        side = size if isinstance(size, int) else max(size)
        return np.asarray(self._transform(load_rgb(raw, side)))

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        return self._run("encode_image", np.stack(batch))

    def encode_tokens(self, batch: list[np.ndarray]) -> list[np.ndarray]:
        """The projected output at each patch, in the order of the grid."""
        return self._run_inner(open_clip_tokens.of_patches, np.stack(batch))

    def encode_layers(self, batch: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """The mean over patches after each block, and the vectors."""
        return self._run_layers(open_clip_layers.of_images, np.stack(batch))

    def _model_input(self, batch: Any) -> Any:
        from open_clip import get_input_dtype

        planes = batch.permute(0, 3, 1, 2)
        pixels = device.normalise_pixels(planes, self._preprocess.mean, self._preprocess.std)
        return pixels.to(get_input_dtype(device.precision(self.precision)))


class ClipText(_Tower):
    """Encodes text. Text beyond the model's context (77 tokens in most models) is cut off."""

    modality = "text"

    @cached_property
    def _tokenizer(self) -> Any:
        import open_clip

        return open_clip.get_tokenizer(self.source.model)

    def prepare(self, raw: bytes | str) -> np.ndarray:
        """Tokenise a text to int64 (context,)."""
        return self._tokenizer([load_text(raw)])[0].numpy()

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        return self._run("encode_text", np.stack(batch))

    def encode_tokens(self, batch: list[np.ndarray]) -> list[np.ndarray]:
        """The projected output at each token between the start and the end of the text."""
        return self._run_inner(open_clip_tokens.of_text, np.stack(batch))

    def encode_layers(self, batch: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """The mean over the tokens of each text after each block, and the vectors."""
        return self._run_layers(open_clip_layers.of_texts, np.stack(batch))


@cache
def _model(source: Source, precision: str) -> Any:
    """The model; a process loads it once for both towers."""
    import open_clip

    check_tensors_only(weights_file(source))
    try:
        model = open_clip.create_model(
            source.model,
            source.pretrained,
            precision=precision,
            require_pretrained=True,
            weights_only=True,
        )
    except Exception as error:
        raise EncoderError(f"{source.label} cannot be loaded: {error}") from error
    return model.eval().to(device.device())


def _three_numbers(option: str | None) -> tuple[float, ...] | None:
    """Parse one number for all channels, or one for each."""
    if option is None:
        return None
    try:
        numbers = tuple(float(number) for number in option.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise EncoderError(f"{option!r}: one number or three are expected, such as 0.5")
    return numbers * (3 // len(numbers))
