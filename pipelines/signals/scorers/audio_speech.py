"""The share of speech in a recording, by Silero VAD (Silero Team 2021-2025).

The weights are part of its package. Optional: it takes longer than all other signals of a recording
together.
"""

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from pipelines.signals.scorer import AudioScorer, Values
from pipelines.signals.scorers.onnx_models import open_session, package_file
from store.tables.signals import SCORERS

_RATE = 16_000  # Hz, of the model's input
_WINDOW, _CONTEXT = 512, 64  # samples: the input is a window and the end of the one before
_MIN_PROBABILITY = 0.5  # at which the package's own code takes a window for speech
_MIN_RATE, _MAX_RATE = 4000, 768_000  # Hz


class Speech:
    """Runs the model on windows of 32 ms; its state is carried from window to window."""

    def __init__(self, rate: int, channels: int):
        usable = _MIN_RATE <= rate <= _MAX_RATE
        self.ratio = Fraction(_RATE, rate).limit_denominator(1000) if usable else Fraction(0)
        self.piece = rate  # one second is resampled at a time; its edges do not change the result
        self.rest = np.empty(0, np.float32)
        self.samples = np.zeros(_CONTEXT, np.float32)
        self.state = np.zeros((2, 1, 128), np.float32)
        self.windows = self.speech_windows = 0

    def add(self, block: np.ndarray) -> None:
        if not self.ratio:
            return
        mono = np.concatenate([self.rest, block.mean(axis=1)])
        length = len(mono) // self.piece * self.piece
        for start in range(0, length, self.piece):
            self._detect(mono[start : start + self.piece])
        self.rest = mono[length:].copy()

    def result(self) -> Values:
        """`audio_speech`: share of the windows with speech; null if the recording is shorter than
        32 ms or sampled at less than 4 kHz."""
        if self.ratio and len(self.rest):
            self._detect(self.rest)
        return {"audio_speech": self.speech_windows / self.windows if self.windows else None}

    def _detect(self, mono: np.ndarray) -> None:
        # Imported here: corpora without recordings need not wait a second for it.
        from scipy.signal import resample_poly

        resampled = resample_poly(mono, self.ratio.numerator, self.ratio.denominator)
        self.samples = np.concatenate([self.samples, resampled.astype(np.float32)])
        while len(self.samples) >= _CONTEXT + _WINDOW:
            window = self.samples[None, : _CONTEXT + _WINDOW]
            feed = {"input": window, "state": self.state, "sr": np.array(_RATE)}
            probability, self.state = _model().run(None, feed)
            self.windows += 1
            self.speech_windows += bool(probability[0, 0] >= _MIN_PROBABILITY)
            self.samples = self.samples[_WINDOW:]


@cache
def _model() -> Any:
    return open_session(package_file("silero_vad", "data/silero_vad.onnx"))


SPEECH = AudioScorer("audio_speech", SCORERS["audio_speech"].names, ("audio_id", "audio"), Speech)
