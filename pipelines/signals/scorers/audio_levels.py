"""Clipping, silence and signal-to-noise ratio of a recording, from frames of 20 ms.

The ratio is estimated from percentiles of the frames' energies, as NIST's `stnr` does: noise is
what the quietest tenth of the frames does not pass, signal what the loudest twentieth passes.
WADA-SNR (Kim and Stern 2008) is better on speech, and wrong on everything else.
"""

import numpy as np

from pipelines.signals.scorer import SoundScorer, Values

_FRAME_SECONDS = 0.02
_FULL_SCALE = 0.999
_SILENCE = 10 ** (-60 / 10)  # mean square of -60 dB below full scale
_MOST_DB = 100.0  # of 16 bits: digital silence would have no bound
_GIVES = ("audio_clipping", "audio_silence", "audio_snr")


class Levels:
    """Listens to frames of 20 ms, of which it keeps the energy alone."""

    def __init__(self, rate: int, channels: int):
        self.frame = max(1, round(rate * _FRAME_SECONDS))
        self.rest = np.empty(0, np.float32)
        self.energies: list[np.ndarray] = []
        self.clipped = self.samples = 0

    def hear(self, block: np.ndarray) -> None:
        self.clipped += int((np.abs(block) >= _FULL_SCALE).sum())
        self.samples += block.size
        power = np.concatenate([self.rest, np.square(block, dtype=np.float32).mean(axis=1)])
        whole = len(power) // self.frame * self.frame
        self.energies.append(power[:whole].reshape(-1, self.frame).mean(axis=1))
        self.rest = power[whole:].copy()

    def result(self) -> Values:
        """`audio_clipping`: share of samples at full scale. `audio_silence`: share of frames below
        -60 dBFS. `audio_snr`: dB, 0 to 100; null where there are fewer than ten frames, or all is
        silent."""
        if not sum(map(len, self.energies)) and len(self.rest):
            self.energies.append(self.rest.mean(keepdims=True))  # it was shorter than a frame
        energies = np.concatenate(self.energies)
        return {
            "audio_clipping": self.clipped / self.samples,
            "audio_silence": float((energies < _SILENCE).mean()),
            "audio_snr": signal_to_noise(energies),
        }


def signal_to_noise(energies: np.ndarray) -> float | None:
    """dB by which the loud frames' energy exceeds the quiet ones', the noise in them taken off."""
    if len(energies) < 10 or energies.max() < _SILENCE:
        return None
    noise, loud = np.percentile(energies.astype(np.float64), [10, 95])
    if noise <= loud * 10 ** (-_MOST_DB / 10):
        return _MOST_DB
    return float(max(0.0, 10 * np.log10(max(loud / noise - 1, 1.0))))


LEVELS = SoundScorer("audio_levels", _GIVES, ("audio_id", "audio"), Levels)
