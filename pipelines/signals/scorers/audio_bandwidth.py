"""Bandwidth: the highest frequency at which a recording has content.

It shows resampling and lossy coding: a telephone call that was resampled to 48 kHz has content up
to 4 kHz, an MP3 of 128 kbit/s up to 16 kHz. Read from the mean power spectrum (Welch 1967).
"""

import numpy as np

from pipelines.signals.scorer import AudioScorer, Values
from store.tables.signals import SCORERS

_FRAME = 4096  # samples
_WINDOW = np.hanning(_FRAME).astype(np.float32)
_MIN_POWER = 10 ** (-60 / 10)  # of the strongest frequency's power


class Bandwidth:
    """Adds up the power spectra of frames of 4,096 samples."""

    def __init__(self, rate: int, channels: int):
        self.rate = rate
        self.rest = np.empty(0, np.float32)
        self.power = np.zeros(_FRAME // 2 + 1)

    def add(self, block: np.ndarray) -> None:
        mono = np.concatenate([self.rest, block.mean(axis=1)])
        length = len(mono) // _FRAME * _FRAME
        self._add_frames(mono[:length])
        self.rest = mono[length:].copy()

    def result(self) -> Values:
        """`audio_bandwidth`: Hz, the highest frequency within 60 dB of the strongest one; null
        if the recording is silent."""
        if not self.power.any() and len(self.rest):  # shorter than one frame
            self._add_frames(np.pad(self.rest, (0, _FRAME - len(self.rest))))
        self.power[0] = 0  # a constant offset is no sound
        strong = np.flatnonzero(self.power > self.power.max() * _MIN_POWER)
        highest = strong[-1] * self.rate / _FRAME if len(strong) else None
        return {"audio_bandwidth": highest}

    def _add_frames(self, mono: np.ndarray) -> None:
        frames = mono.reshape(-1, _FRAME) * _WINDOW
        self.power += (np.abs(np.fft.rfft(frames, axis=1)) ** 2).sum(axis=0)


BANDWIDTH = AudioScorer(
    "audio_bandwidth", SCORERS["audio_bandwidth"].names, ("audio_id", "audio"), Bandwidth
)
