"""Integrated loudness (ITU-R BS.1770-4, EBU R 128), computed while the recording is decoded."""

import math

import numpy as np

from pipelines.signals.scorer import AudioScorer, Values
from store.tables.signals import SCORERS

_STEP_SECONDS, _STEPS = 0.1, 4  # gating blocks of 400 ms that overlap by 75%
_ABSOLUTE_GATE = -70.0  # LUFS
_RELATIVE_GATE = -10.0  # LU, relative to the loudness of the blocks above the absolute gate
_MIN_RATE = 4000  # Hz; the high shelf of the K-weighting lies at 1,682 Hz


class Loudness:
    """Applies the K-weighting filter and keeps the energy of each 100 ms."""

    def __init__(self, rate: int, channels: int):
        self.usable = rate >= _MIN_RATE
        self.filter = k_weighting(rate) if self.usable else np.empty((0, 6))
        self.state = np.zeros((len(self.filter), 2, channels))
        self.weights = channel_weights(channels)
        self.step = max(1, round(rate * _STEP_SECONDS))
        self.rest = np.empty(0)
        self.energies: list[np.ndarray] = []

    def add(self, block: np.ndarray) -> None:
        # Imported here: corpora without recordings need not wait a second for it.
        from scipy.signal import sosfilt

        if not self.usable:
            return
        filtered, self.state = sosfilt(self.filter, block, axis=0, zi=self.state)
        power = np.concatenate([self.rest, np.square(filtered) @ self.weights])
        length = len(power) // self.step * self.step
        self.energies.append(power[:length].reshape(-1, self.step).mean(axis=1))
        self.rest = power[length:].copy()

    def result(self) -> Values:
        """`audio_loudness`: LUFS, -70 (the absolute gate) for silence; null if the recording is
        shorter than 400 ms or sampled at less than 4 kHz."""
        steps = np.concatenate(self.energies) if self.energies else np.empty(0)
        return {"audio_loudness": integrated(steps)}


def integrated(steps: np.ndarray) -> float | None:
    """The integrated loudness in LUFS, gated twice.

    Args:
        steps: weighted mean squares of steps of 100 ms, (n,).

    Returns:
        -70 for silence; None for less than 400 ms.
    """
    if len(steps) < _STEPS:
        return None
    blocks = np.convolve(steps, np.full(_STEPS, 1 / _STEPS), "valid")
    loud = blocks[blocks > _power(_ABSOLUTE_GATE)]
    if not len(loud):
        return _ABSOLUTE_GATE
    gated = loud[loud > loud.mean() * 10 ** (_RELATIVE_GATE / 10)]
    return max(_ABSOLUTE_GATE, _lufs(gated.mean()))


def _lufs(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return 10 ** ((lufs + 0.691) / 10)


def channel_weights(channels: int) -> np.ndarray:
    """The weight of each channel, (channels,).

    5 channels are left, right, centre and two surrounds; 6 have the low-frequency effects after the
    centre. All channels of other layouts weigh 1.
    """
    surround = {5: [1, 1, 1, 1.41, 1.41], 6: [1, 1, 1, 0, 1.41, 1.41]}
    return np.asarray(surround.get(channels, [1] * channels), np.float64)


def k_weighting(rate: int) -> np.ndarray:
    """The K-weighting filter for any sample rate, as second-order sections (2, 6).

    The standard gives coefficients for 48 kHz. They are those of a high shelf and a high pass after
    the bilinear transform, which is done here for `rate` in Hz.
    """
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


LOUDNESS = AudioScorer(
    "audio_loudness", SCORERS["audio_loudness"].names, ("audio_id", "audio"), Loudness
)
