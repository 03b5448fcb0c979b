"""Bandwidth: up to which frequency a recording holds anything. A call that was resampled to
48 kHz keeps its 4 kHz, an MP3 of 128 kbit/s its 16 kHz. From Welch's (1967) mean spectrum."""

import numpy as np

from pipelines.signals.scorer import SoundScorer, Values

_FRAME = 4096
_BELOW = 10 ** (-60 / 10)  # of the strongest frequency's power


class Bandwidth:
    """Listens to frames of 4,096 samples, of which it keeps the mean power spectrum."""

    def __init__(self, rate: int, channels: int):
        self.rate = rate
        self.rest = np.empty(0, np.float32)
        self.power = np.zeros(_FRAME // 2 + 1)

    def hear(self, block: np.ndarray) -> None:
        mono = np.concatenate([self.rest, block.mean(axis=1)])
        whole = len(mono) // _FRAME * _FRAME
        self._add(mono[:whole])
        self.rest = mono[whole:].copy()

    def result(self) -> Values:
        """`audio_bandwidth`: Hz, the highest frequency within 60 dB of the strongest one; null
        where all is silent."""
        if not self.power.any() and len(self.rest):
            self._add(np.pad(self.rest, (0, _FRAME - len(self.rest))))  # it was short
        self.power[0] = 0  # a constant offset is no sound
        strong = np.flatnonzero(self.power > self.power.max() * _BELOW)
        highest = strong[-1] * self.rate / _FRAME if len(strong) else None
        return {"audio_bandwidth": highest}

    def _add(self, mono: np.ndarray) -> None:
        frames = mono.reshape(-1, _FRAME) * _WINDOW
        self.power += (np.abs(np.fft.rfft(frames, axis=1)) ** 2).sum(axis=0)


_WINDOW = np.hanning(_FRAME).astype(np.float32)
BANDWIDTH = SoundScorer("audio_bandwidth", ("audio_bandwidth",), ("audio_id", "audio"), Bandwidth)
