"""Recordings: EfficientNet-Lite0 over a log-mel spectrogram, and a head into the whole space."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import fingerprint
from embedders.local import mel
from embedders.local.packages import efficientnet_file
from embedders.local.shared import DIM, SHARE, head, head_file
from embedders.media.audio import load_mono


class LocalAudio:
    """The mean over windows of 2.24 s of what Lite0 sees in them; the first 10 s are heard."""

    name = "local-audio"
    version = "1"
    modality = "audio"
    dim = DIM

    @cached_property
    def fingerprint(self) -> str:
        files = [efficientnet_file(0), head_file("audio")]
        settings = (mel.RATE, mel.SECONDS, mel.SIDE, SHARE)
        return fingerprint(self.name, self.version, *files, settings=settings)

    @cached_property
    def _model(self) -> Any:
        from embedders.local.efficientnet import EfficientNetLite

        return EfficientNetLite(0, efficientnet_file(0))

    def prepare(self, raw: bytes | str | Path) -> np.ndarray:
        """uint8 (windows, 224, 224). Raises RecordError as `load_mono` does."""
        return mel.mel_windows(load_mono(raw, mel.RATE, mel.SECONDS))

    def features(self, batch: list[np.ndarray]) -> np.ndarray:
        """Float32 (n, 1752)."""
        windows = np.repeat(np.concatenate(batch)[..., None], 3, axis=3)
        seen = self._model(windows).features
        starts = np.cumsum([0, *(len(recording) for recording in batch[:-1])])
        counts = np.array([len(recording) for recording in batch])[:, None]
        return np.add.reduceat(seen, starts) / counts

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        return head("audio")(self.features(batch))
