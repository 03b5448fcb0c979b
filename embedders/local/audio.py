"""Audio in the local space: EfficientNet-Lite0 on log-mel spectrograms, and a learned head.

The head maps the features to both parts of a vector, the meaning and the learned one.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import fingerprint
from embedders.local import mel
from embedders.local.packages import efficientnet_file
from embedders.local.shared import DIM, MEANING_SHARE, head, head_file
from embedders.media.audio import load_mono


class LocalAudio:
    """Encodes recordings by the mean of Lite0's features over windows of 2.24 s.

    Only the first 10 s are read.
    """

    name = "local-audio"
    version = "1"
    modality = "audio"
    dim = DIM

    @cached_property
    def fingerprint(self) -> str:
        files = [efficientnet_file(0), head_file("audio")]
        settings = (mel.RATE, mel.SECONDS, mel.SIDE, MEANING_SHARE)
        return fingerprint(self.name, self.version, *files, settings=settings)

    @cached_property
    def _model(self) -> Any:
        from embedders.local.efficientnet import EfficientNetLite

        return EfficientNetLite(0, efficientnet_file(0))

    def prepare(self, raw: bytes | str | Path) -> np.ndarray:
        """Make the spectrograms of a recording.

        Returns:
            uint8 (windows, 224, 224).

        Raises:
            RecordError: the rules of `embedders.media.audio.load_mono`.
        """
        return mel.mel_windows(load_mono(raw, mel.RATE, mel.SECONDS))

    def features(self, batch: list[np.ndarray]) -> np.ndarray:
        """The features of prepared recordings, float32 (n, 1752). They are the head's input."""
        images = np.repeat(np.concatenate(batch)[..., None], 3, axis=3)
        window_features = self._model(images).features
        starts = np.cumsum([0, *(len(recording) for recording in batch[:-1])])
        counts = np.array([len(recording) for recording in batch])[:, None]
        return np.add.reduceat(window_features, starts) / counts

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        return head("audio")(self.features(batch))
