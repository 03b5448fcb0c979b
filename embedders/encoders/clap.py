"""CLAP: audio and text encoders of one space (Wu et al. 2023), run by transformers.

    clap:laion/clap-htsat-unfused      a model of the hub, downloaded once
    clap:/data/my-clap                 a folder as `save_pretrained` writes it

A recording longer than the model's window (10 s in most models) is cut into windows of that length:
as few as cover it, evenly spaced, so that none is padded with silence. Options:

- `pooling=mean` (the default) gives the mean of the windows' unit vectors, scaled to length one.
  `pooling=best` gives the vector of the window that is nearest to that mean. That is a real moment
  of the recording, while the mean of speech and of a song is similar to neither.
- `max_seconds` (600): nothing after that is read.
- `precision`: fp32, bf16 or fp16.

Models with feature fusion get each window as a short recording. Their own method for long ones
takes random crops, which would give the same recording a different vector each time.
"""

import json
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import fingerprint, unit_rows
from embedders.encoders import device, weights
from embedders.media.audio import load_mono
from embedders.media.text import load_text
from store.errors import EncoderError

POOLINGS = ("mean", "best")
_VERSION = "1"


def make(
    name: str,
    modality: str = "audio",
    precision: str | None = None,
    pooling: str = "mean",
    max_seconds: str = "600",
) -> "ClapAudio | ClapText":
    folder, precision = weights.hub_folder(name), device.check_precision(precision)
    if modality == "text":
        return ClapText(folder, precision)
    if modality != "audio":
        raise EncoderError(f"clap:{name} has towers for audio and text, none for {modality}")
    if pooling not in POOLINGS:
        raise EncoderError(f"pooling={pooling!r}; allowed: {', '.join(POOLINGS)}")
    try:
        seconds = float(max_seconds)
    except ValueError:
        raise EncoderError(f"max_seconds={max_seconds!r} is not a number of seconds") from None
    return ClapAudio(folder, precision, pooling, seconds)


class _Tower:
    """What both towers share: the folder of the model, its width and its fingerprint."""

    name: str
    version = _VERSION
    modality: str

    def __init__(self, folder: Path, precision: str | None):
        self.folder = folder
        self.precision = precision
        self.name = f"clap-{self.modality}"

    @cached_property
    def dim(self) -> int:
        config = json.loads((self.folder / "config.json").read_text())
        return config.get("projection_dim", 512)

    @cached_property
    def fingerprint(self) -> str:
        files = weights.model_files(self.folder)
        return fingerprint(self.name, self.version, *files, settings=self._settings())

    def _settings(self) -> Any:
        return self.precision


class ClapAudio(_Tower):
    """Encodes recordings: one vector for each, pooled over its windows.

    Args:
        folder: of the model.
        precision: None is the device's default.
        pooling: one of POOLINGS.
        max_seconds: of a recording that are read.
    """

    modality = "audio"

    def __init__(self, folder: Path, precision: str | None, pooling: str, max_seconds: float):
        super().__init__(folder, precision)
        self.pooling = pooling
        self.max_seconds = max_seconds

    def _settings(self) -> Any:
        return self.precision, self.pooling, self.max_seconds

    @cached_property
    def _extractor(self) -> Any:
        from transformers import ClapFeatureExtractor

        return ClapFeatureExtractor.from_pretrained(self.folder)

    def prepare(self, raw: Any) -> np.ndarray:
        """Make the mel spectrograms of a recording's windows.

        Returns:
            Float32 (windows, 1 or 4, frames, mels).

        Raises:
            RecordError: the rules of `embedders.media.audio.load_mono`.
        """
        samples = load_mono(raw, self._extractor.sampling_rate, self.max_seconds)
        features = self._extractor(
            windows(samples, self._extractor.nb_max_samples),
            sampling_rate=self._extractor.sampling_rate,
            return_tensors="np",
        )
        return features["input_features"].astype(np.float32)

    def cost(self, prepared: np.ndarray) -> float:
        """The number of windows."""
        return len(prepared)

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        import torch

        model = _model(self.folder)
        features = device.to_device(np.concatenate(batch))
        is_longer = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
        with torch.inference_mode(), device.autocast(self.precision):
            output = model.get_audio_features(input_features=features, is_longer=is_longer)
        rows = unit_rows(device.to_numpy(output.pooler_output))
        ends = np.cumsum([len(prepared) for prepared in batch])[:-1]
        return np.stack([pool_windows(each, self.pooling) for each in np.split(rows, ends)])


class ClapText(_Tower):
    """Encodes text. Text beyond the model's context is cut off."""

    modality = "text"

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def _context(self) -> int:
        """The number of tokens that the model reads."""
        config = json.loads((self.folder / "config.json").read_text())["text_config"]
        # RoBERTa's first position has the number after that of its padding token.
        first_position = config.get("pad_token_id", 1) + 1
        positions = config.get("max_position_embeddings", 514) - first_position
        return min(positions, self._tokenizer.model_max_length)

    def prepare(self, raw: bytes | str) -> np.ndarray:
        """Tokenise a text to int64 (tokens,)."""
        tokens = self._tokenizer(load_text(raw), truncation=True, max_length=self._context)
        return np.array(tokens["input_ids"], np.int64)

    def cost(self, prepared: np.ndarray) -> float:
        """One for each 32 tokens, at least 1."""
        return max(1, len(prepared) / 32)

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        import torch

        longest = max(map(len, batch))
        ids = np.full((len(batch), longest), self._tokenizer.pad_token_id, np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        with torch.inference_mode(), device.autocast(self.precision):
            output = _model(self.folder).get_text_features(
                input_ids=device.to_device(ids), attention_mask=device.to_device(mask)
            )
        return unit_rows(device.to_numpy(output.pooler_output))


def windows(samples: np.ndarray, length: int) -> list[np.ndarray]:
    """Cut a recording into the fewest windows that cover it, evenly spaced.

    Args:
        samples: (n,).
        length: of each window, in samples. A shorter recording is one window.
    """
    if len(samples) <= length:
        return [samples]
    count = -(-len(samples) // length)
    starts = np.linspace(0, len(samples) - length, count).round().astype(int)
    return [samples[start : start + length] for start in starts]


def pool_windows(rows: np.ndarray, pooling: str) -> np.ndarray:
    """Pool unit rows (windows, d) to one unit vector (d,): their mean, or the row nearest to it."""
    mean = unit_rows(rows.mean(axis=0, keepdims=True))[0]
    return mean if pooling == "mean" else rows[np.argmax(rows @ mean)]


@cache
def _model(folder: Path) -> Any:
    from transformers import ClapModel

    weights.check_tensors_only(*weights.model_files(folder))
    try:
        model = ClapModel.from_pretrained(folder, weights_only=True)
    except Exception as error:
        raise EncoderError(f"clap:{folder} cannot be loaded: {error}") from error
    return model.eval().to(device.device())
