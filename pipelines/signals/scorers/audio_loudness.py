"""Integrated loudness (ITU-R BS.1770-4, EBU R 128), computed as the recording is decoded."""

import math

import numpy as np
from scipy.signal import sosfilt

from pipelines.signals.scorer import SoundScorer, Values

_STEP_SECONDS, _STEPS = 0.1, 4  # blocks of 400 ms that overlap by three quarters
_ABSOLUTE, _RELATIVE = -70.0, -10.0  # gates: LUFS, and LU below what passed the first
_LEAST_RATE = 4000  # the shelf lies at 1,682 Hz


class Loudness:
    """Listens through the K-weighting filter and keeps the energy of each 100 ms."""

    def __init__(self, rate: int, channels: int):
        self.usable = rate >= _LEAST_RATE
        self.filter = k_weighting(rate) if self.usable else np.empty((0, 6))
        self.state = np.zeros((len(self.filter), 2, channels))
        self.weights = channel_weights(channels)
        self.step = max(1, round(rate * _STEP_SECONDS))
        self.rest = np.empty(0)
        self.energies: list[np.ndarray] = []

    def hear(self, block: np.ndarray) -> None:
        if not self.usable:
            return
        heard, self.state = sosfilt(self.filter, block, axis=0, zi=self.state)
        power = np.concatenate([self.rest, np.square(heard) @ self.weights])
        whole = len(power) // self.step * self.step
        self.energies.append(power[:whole].reshape(-1, self.step).mean(axis=1))
        self.rest = power[whole:].copy()

    def result(self) -> Values:
        """`audio_loudness`: LUFS, -70 (the gate) for silence; null below 400 ms or 4 kHz."""
        steps = np.concatenate(self.energies) if self.energies else np.empty(0)
        return {"audio_loudness": integrated(steps)}


def integrated(steps: np.ndarray) -> float | None:
    """LUFS of the weighted mean squares (n,) of steps of 100 ms, gated twice."""
    if len(steps) < _STEPS:
        return None
    blocks = np.convolve(steps, np.full(_STEPS, 1 / _STEPS), "valid")
    loud = blocks[blocks > _power(_ABSOLUTE)]
    if not len(loud):
        return _ABSOLUTE
    return max(_ABSOLUTE, _lufs(loud[loud > loud.mean() * 10 ** (_RELATIVE / 10)].mean()))


def _lufs(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return 10 ** ((lufs + 0.691) / 10)


def channel_weights(channels: int) -> np.ndarray:
    """Of left, right, centre (and low effects) and surround; other layouts count evenly."""
    surround = {5: [1, 1, 1, 1.41, 1.41], 6: [1, 1, 1, 0, 1.41, 1.41]}
    return np.asarray(surround.get(channels, [1] * channels), np.float64)


def k_weighting(rate: int) -> np.ndarray:
    """The standard's two filters for any rate, (2, 6): its coefficients at 48 kHz are those of a
    high shelf and a high pass, transformed bilinearly."""
    k = math.tan(math.pi * 1681.974450955533 / rate)
    q, high = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / q + k * k
    shelf = [
        (high + band * k / q + k * k) / a0,
        2 * (k * k - high) / a0,
        (high - band * k / q + k * k) / a0,
        1.0,
        2 * (k * k - 1) / a0,
        (1 - k / q + k * k) / a0,
    ]
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    return np.array([shelf, [1, -2, 1, 1, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]])


LOUDNESS = SoundScorer("audio_loudness", ("audio_loudness",), ("audio_id", "audio"), Loudness)
