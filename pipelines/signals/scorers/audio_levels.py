"""Clipping, silence and signal-to-noise ratio of a recording.

The signal-to-noise ratio is estimated from percentiles of the energies of frames of 20 ms, as in
NIST's `stnr`: the noise is the 10th percentile, the signal the 95th. WADA-SNR (Kim and Stern 2008)
is better on speech, but wrong on everything else.
"""

import numpy as np

from pipelines.signals.scorer import AudioScorer, Values
from store.tables.signals import SCORERS

_FRAME_SECONDS = 0.02
_FULL_SCALE = 0.999
_SILENCE = 10 ** (-60 / 10)  # mean square of -60 dB below full scale
_MAX_DB = 100.0  # about the range of 16 bits; digital silence would make the ratio infinite
_NOISE_PERCENTILE, _SIGNAL_PERCENTILE = 10, 95
_MIN_FRAMES = 10


class Levels:
    """Keeps the energy of each frame of 20 ms, and counts the clipped samples."""

    def __init__(self, rate: int, channels: int):
        self.frame = max(1, round(rate * _FRAME_SECONDS))
        self.rest = np.empty(0, np.float32)
        self.energies: list[np.ndarray] = []
        self.clipped = self.samples = 0

    def add(self, block: np.ndarray) -> None:
        self.clipped += int((np.abs(block) >= _FULL_SCALE).sum())
        self.samples += block.size
        power = np.concatenate([self.rest, np.square(block, dtype=np.float32).mean(axis=1)])
        length = len(power) // self.frame * self.frame
        self.energies.append(power[:length].reshape(-1, self.frame).mean(axis=1))
        self.rest = power[length:].copy()

    def result(self) -> Values:
        """`audio_clipping`: share of samples at full scale. `audio_silence`: share of frames below
        -60 dBFS. `audio_snr`: dB, 0 to 100; null if there are fewer than ten frames, or all are
        silent."""
        if not sum(map(len, self.energies)) and len(self.rest):  # shorter than one frame
            self.energies.append(self.rest.mean(keepdims=True))
        energies = np.concatenate(self.energies)
        return {
            "audio_clipping": self.clipped / self.samples,
            "audio_silence": float((energies < _SILENCE).mean()),
            "audio_snr": signal_to_noise(energies),
        }


def signal_to_noise(energies: np.ndarray) -> float | None:
    """The signal-to-noise ratio in dB, 0 to 100.

    The energy of the noise is subtracted from that of the loud frames, which hold both.

    Args:
        energies: mean squares of frames, (n,).

    Returns:
        None if there are fewer than ten frames, or all are silent.
    """
    if len(energies) < _MIN_FRAMES or energies.max() < _SILENCE:
        return None
    percentiles = [_NOISE_PERCENTILE, _SIGNAL_PERCENTILE]
    noise, loud = np.percentile(energies.astype(np.float64), percentiles)
    if noise <= loud * 10 ** (-_MAX_DB / 10):
        return _MAX_DB
    return float(max(0.0, 10 * np.log10(max(loud / noise - 1, 1.0))))


LEVELS = AudioScorer("audio_levels", SCORERS["audio_levels"].names, ("audio_id", "audio"), Levels)
