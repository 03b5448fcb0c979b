"""sentence-transformers: text towers to align others to, or to be aligned.

    sentence_transformers:sentence-transformers/all-mpnet-base-v2     a model of the hub
    sentence_transformers:/data/my-model                              a folder of one

Option: `precision` (fp32, bf16, fp16). Needs the package sentence-transformers.
"""

import json
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
    return SentenceText(weights.hub_folder(name), device.checked(precision))


class SentenceText:
    """What does not fit the model's context is not read."""

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
        """As the folder's modules tell, without their weights: the last that says a width."""
        widths = [
            config[key]
            for module in _json(self.folder / _MODULES)
            for config in [_json(self.folder / module["path"] / "config.json")]
            for key in ("out_features", "word_embedding_dimension", "hidden_size")
            if isinstance(config, dict) and key in config
        ]
        return widths[-1] if widths else self._model.get_sentence_embedding_dimension()

    @cached_property
    def _model(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise EncoderError(
                "sentence_transformers: needs the package: pip install sentence-transformers"
            ) from error
        return SentenceTransformer(str(self.folder), device=str(device.device()))

    def prepare(self, raw: bytes | str) -> str:
        """The model's own tokeniser, which is compiled, runs in `encode`."""
        return load_text(raw)

    def cost(self, prepared: str) -> float:
        return max(1, len(prepared) / 128)

    def encode(self, batch: list[str]) -> np.ndarray:
        with device.autocast(self.precision):
            made = self._model.encode(
                batch, batch_size=len(batch), convert_to_numpy=True, show_progress_bar=False
            )
        return unit_rows(made)


def _json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else {}
