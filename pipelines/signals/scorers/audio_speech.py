"""Speech by Silero VAD (Silero Team 2021-2025), whose weights come in its package. Optional: it
takes longer than all other signals of a recording together."""

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from pipelines.signals.scorer import SoundScorer, Values
from pipelines.signals.scorers.onnx_models import packaged, session

_RATE, _WINDOW, _CONTEXT = 16_000, 512, 64
_SPEECH = 0.5  # the probability from which the package's own code takes a window for speech
_LEAST_RATE, _MOST_RATE = 4000, 768_000


class Speech:
    """Listens in windows of 32 ms, each with what the model remembers of those before."""

    def __init__(self, rate: int, channels: int):
        usable = _LEAST_RATE <= rate <= _MOST_RATE
        self.ratio = Fraction(_RATE, rate).limit_denominator(1000) if usable else Fraction(0)
        self.piece = rate  # a second is resampled at a time: the edges are heard by nobody
        self.rest = np.empty(0, np.float32)
        self.sound = np.zeros(_CONTEXT, np.float32)
        self.state = np.zeros((2, 1, 128), np.float32)
        self.windows = self.spoken = 0

    def hear(self, block: np.ndarray) -> None:
        if not self.ratio:
            return
        mono = np.concatenate([self.rest, block.mean(axis=1)])
        whole = len(mono) // self.piece * self.piece
        for start in range(0, whole, self.piece):
            self._listen(mono[start : start + self.piece])
        self.rest = mono[whole:].copy()

    def result(self) -> Values:
        """`audio_speech`: share of the windows with speech; null below 32 ms or 4 kHz."""
        if self.ratio and len(self.rest):
            self._listen(self.rest)
        return {"audio_speech": self.spoken / self.windows if self.windows else None}

    def _listen(self, mono: np.ndarray) -> None:
        resampled = resample_poly(mono, self.ratio.numerator, self.ratio.denominator)
        self.sound = np.concatenate([self.sound, resampled.astype(np.float32)])
        while len(self.sound) >= _CONTEXT + _WINDOW:
            window = self.sound[None, : _CONTEXT + _WINDOW]
            feed = {"input": window, "state": self.state, "sr": np.array(_RATE)}
            probability, self.state = _model().run(None, feed)
            self.windows += 1
            self.spoken += bool(probability[0, 0] >= _SPEECH)
            self.sound = self.sound[_WINDOW:]


@cache
def _model() -> Any:
    return session(packaged("silero_vad", "data/silero_vad.onnx"))


SPEECH = SoundScorer("audio_speech", ("audio_speech",), ("audio_id", "audio"), Speech)
