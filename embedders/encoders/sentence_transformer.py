"""Text encoders of the library sentence-transformers, to align others to or to be aligned.

    sentence_transformers:sentence-transformers/all-mpnet-base-v2     a model of the hub
    sentence_transformers:/data/my-model                              a model's folder

Option: `precision` (fp32, bf16, fp16). It needs the package sentence-transformers.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import fingerprint, unit_rows
from embedders.encoders import device, weights
from embedders.media.text import load_text
from store.errors import EncoderError

_MODULES = "modules.json"


def make(name: str, precision: str | None = None) -> "SentenceText":
    return SentenceText(weights.hub_folder(name), device.check_precision(precision))


class SentenceText:
    """Encodes text. Text beyond the model's context is cut off.

    Args:
        folder: of the model.
        precision: None is the device's default.
    """

    name = "sentence-transformers"
    version = "1"
    modality = "text"

    def __init__(self, folder: Path, precision: str | None):
        self.folder = folder
        self.precision = precision

    @cached_property
    def fingerprint(self) -> str:
        files = weights.model_files(self.folder)
        return fingerprint(self.name, self.version, *files, settings=self.precision)

    @cached_property
    def dim(self) -> int:
        """The width of the last module that declares one, read without loading the weights."""
        widths = [
            config[key]
            for module in _read_json(self.folder / _MODULES)
            for config in [_read_json(self.folder / module["path"] / "config.json")]
            for key in ("out_features", "word_embedding_dimension", "hidden_size")
            if isinstance(config, dict) and key in config
        ]
        return widths[-1] if widths else self._model.get_sentence_embedding_dimension()

    @cached_property
    def layer_dims(self) -> tuple[int, ...]:
        """The width of each layer of the transformer, which is the first module.

        Raises:
            EncoderError: the first module is no transformer.
        """
        first = (_read_json(self.folder / _MODULES) or [{}])[0]
        config = _read_json(self.folder / first.get("path", "") / "config.json")
        if "hidden_size" not in config or "num_hidden_layers" not in config:
            raise EncoderError(f"sentence_transformers:{self.folder} offers no layers")
        return (config["hidden_size"],) * config["num_hidden_layers"]

    @cached_property
    def _model(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise EncoderError(
                "sentence_transformers: needs the package: pip install sentence-transformers"
            ) from error
        weights.check_tensors_only(*weights.model_files(self.folder))
        return SentenceTransformer(
            str(self.folder),
            device=str(device.device()),
            trust_remote_code=False,
            model_kwargs={"weights_only": True},
        )

    def prepare(self, raw: bytes | str) -> str:
        """Check the text. `encode` tokenises it: the model's tokeniser is compiled and fast."""
        return load_text(raw)

    def cost(self, prepared: str) -> float:
        """One for each 128 characters, at least 1."""
        return max(1, len(prepared) / 128)

    def encode(self, batch: list[str]) -> np.ndarray:
        with device.autocast(self.precision):
            vectors = self._model.encode(
                batch, batch_size=len(batch), convert_to_numpy=True, show_progress_bar=False
            )
        return unit_rows(vectors)

    def encode_layers(self, batch: list[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """The mean over the tokens of each text after each layer, and the vectors."""
        import torch

        model = self._model
        prompt = model.prompts.get(model.default_prompt_name or "")
        with torch.inference_mode(), device.autocast(self.precision), _hidden_states(model):
            inputs = model.preprocess(batch, prompt=prompt)
            inputs = {
                name: each.to(device.device()) if isinstance(each, torch.Tensor) else each
                for name, each in inputs.items()
            }
            mask = inputs["attention_mask"][..., None]
            outputs = model(inputs)
            means = [
                (state * mask).sum(1) / mask.sum(1) for state in outputs["all_layer_embeddings"][1:]
            ]
            layers = [device.to_numpy(each) for each in means]
            return layers, unit_rows(device.to_numpy(outputs["sentence_embedding"]))


@contextmanager
def _hidden_states(model: Any) -> Iterator[None]:
    """Let the model return the outputs of all of its layers."""
    config = model[0].auto_model.config
    before, config.output_hidden_states = config.output_hidden_states, True
    try:
        yield
    finally:
        config.output_hidden_states = before


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else {}
