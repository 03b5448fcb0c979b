"""CLAP: audio and text in one space (Wu et al. 2023), through transformers.

    clap:laion/clap-htsat-unfused      a model of the hub, downloaded once
    clap:/data/my-clap                 a folder as `save_pretrained` writes it

A recording longer than the model's window (10 s in most) is cut into windows of that length, as
few as cover it, evenly spread, so that none is short of sound. `pooling=mean` (the default) gives
the mean of their unit vectors, scaled to length one; `pooling=best` the vector of the one window
that is nearest to that mean: a real moment of the recording, where the mean of a speech and a song
is like neither. Beyond `max_seconds` (600) nothing is read. `precision` is fp32, bf16 or fp16.

Models with feature fusion see each window as a short recording: their own way with long ones
takes crops at random, which would give the same recording another vector every time.
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
    folder, precision = weights.hub_folder(name), device.checked(precision)
    if modality == "text":
        return ClapText(folder, precision)
    if modality != "audio":
        raise EncoderError(f"clap:{name} has towers for audio and text, none for {modality}")
    if pooling not in POOLINGS:
        raise EncoderError(f"pooling={pooling!r}: allowed are {', '.join(POOLINGS)}")
    try:
        seconds = float(max_seconds)
    except ValueError:
        raise EncoderError(f"max_seconds={max_seconds!r} is not a number of seconds") from None
    return ClapAudio(folder, precision, pooling, seconds)


class _Tower:
    """What both towers share: the folder, and the model that is loaded from it."""

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
    """One vector a recording, of its windows."""

    modality = "audio"

    def __init__(self, folder: Path, precision: str | None, pooling: str, max_seconds: float):
        super().__init__(folder, precision)
        self.pooling = pooling
        self.max_seconds = max_seconds

    def _settings(self) -> Any:
        return self.precision, self.pooling, self.max_seconds

    @cached_property
    def _mel(self) -> Any:
        from transformers import ClapFeatureExtractor

        return ClapFeatureExtractor.from_pretrained(self.folder)

    def prepare(self, raw: Any) -> np.ndarray:
        """Float32 (windows, 1 or 4, frames, mels).

        Raises RecordError as `sound.load_mono` does.
        """
        sound = load_mono(raw, self._mel.sampling_rate, self.max_seconds)
        made = self._mel(
            windows(sound, self._mel.nb_max_samples),
            sampling_rate=self._mel.sampling_rate,
            return_tensors="np",
        )
        return made["input_features"].astype(np.float32)

    def cost(self, prepared: np.ndarray) -> float:
        return len(prepared)

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        import torch

        model = _model(self.folder)
        features = device.to_device(np.concatenate(batch))
        is_longer = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
        with torch.inference_mode(), device.autocast(self.precision):
            made = model.get_audio_features(input_features=features, is_longer=is_longer)
        rows = unit_rows(device.to_numpy(made.pooler_output))
        ends = np.cumsum([len(prepared) for prepared in batch])[:-1]
        return np.stack([pooled(each, self.pooling) for each in np.split(rows, ends)])


class ClapText(_Tower):
    """What does not fit the model's context is not read."""

    modality = "text"

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def _context(self) -> int:
        config = json.loads((self.folder / "config.json").read_text())["text_config"]
        # RoBERTa numbers positions from its padding token's number on.
        places = config.get("max_position_embeddings", 514) - config.get("pad_token_id", 1) - 1
        return min(places, self._tokenizer.model_max_length)

    def prepare(self, raw: bytes | str) -> np.ndarray:
        """int64 (tokens,)."""
        made = self._tokenizer(load_text(raw), truncation=True, max_length=self._context)
        return np.array(made["input_ids"], np.int64)

    def cost(self, prepared: np.ndarray) -> float:
        return max(1, len(prepared) / 32)

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        import torch

        longest = max(map(len, batch))
        ids = np.full((len(batch), longest), self._tokenizer.pad_token_id, np.int64)
        there = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            there[row, : len(tokens)] = 1
        with torch.inference_mode(), device.autocast(self.precision):
            made = _model(self.folder).get_text_features(
                input_ids=device.to_device(ids), attention_mask=device.to_device(there)
            )
        return unit_rows(device.to_numpy(made.pooler_output))


def windows(sound: np.ndarray, length: int) -> list[np.ndarray]:
    """The fewest windows of `length` samples that cover a recording, evenly spread; all of it where
    it is shorter."""
    if len(sound) <= length:
        return [sound]
    count = -(-len(sound) // length)
    starts = np.linspace(0, len(sound) - length, count).round().astype(int)
    return [sound[start : start + length] for start in starts]


def pooled(rows: np.ndarray, how: str) -> np.ndarray:
    """Unit rows (windows, d) to one unit vector (d,): their mean, or the row nearest to it."""
    mean = unit_rows(rows.mean(axis=0, keepdims=True))[0]
    return mean if how == "mean" else rows[np.argmax(rows @ mean)]


@cache
def _model(folder: Path) -> Any:
    from transformers import ClapModel

    try:
        model = ClapModel.from_pretrained(folder)
    except Exception as error:
        raise EncoderError(f"clap:{folder} cannot be loaded: {error}") from error
    return model.eval().to(device.device())
