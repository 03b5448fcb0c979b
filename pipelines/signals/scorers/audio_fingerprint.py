"""A fingerprint of how a recording sounds (Haitsma and Kalker 2002, "A Highly Robust Audio
Fingerprinting System").

Each 46 ms give 32 bits: whether the difference of energy between neighbouring bands, 33 from 300
to 2,000 Hz, has grown since the frame before. Frames last 0.37 s, so that copies whose frames lie
elsewhere agree; the paper has four times as many of them, for storage that is not worth it here.
"""

from fractions import Fraction

import numpy as np
from scipy.signal import resample_poly

from pipelines.signals.scorer import SoundScorer, Values

RATE, FRAME, HOP = 5500, 2048, 256
SECONDS = 60  # the beginning is enough to know a recording by
_BANDS = np.geomspace(300, 2000, 34)
_LEAST_RATE, _MOST_RATE = 4400, 768_000
_SILENCE = 1e-4  # of full scale
_LEAST_FRAMES = 16  # that two fingerprints must share: 0.75 s


class Fingerprint:
    """Listens to the first minute."""

    def __init__(self, rate: int, channels: int):
        self.rate = rate
        self.wanted = SECONDS * rate if _LEAST_RATE <= rate <= _MOST_RATE else 0
        self.heard: list[np.ndarray] = []

    def hear(self, block: np.ndarray) -> None:
        if self.wanted > 0:
            self.heard.append(block[: self.wanted].mean(axis=1))
            self.wanted -= len(block)

    def result(self) -> Values:
        """`audio_fingerprint`: little-endian uint32, 21.5 a second; null where the recording is
        shorter than 1.1 s, silent, or sampled at less than 4.4 kHz."""
        mono = np.concatenate(self.heard) if self.heard else np.empty(0, np.float32)
        if not len(mono) or np.abs(mono).max() < _SILENCE:
            return {"audio_fingerprint": None}
        ratio = Fraction(RATE, self.rate).limit_denominator(1000)
        codes = fingerprint(resample_poly(mono, ratio.numerator, ratio.denominator))
        enough = len(codes) >= _LEAST_FRAMES
        return {"audio_fingerprint": codes.astype("<u4").tobytes() if enough else None}


def fingerprint(mono: np.ndarray) -> np.ndarray:
    """Uint32 (frames - 1,) of samples (n,) at 5,500 Hz."""
    if len(mono) < FRAME + HOP:
        return np.empty(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(mono, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)) ** 2
    energy = np.add.reduceat(power, _EDGES, axis=1)[:, :-1]
    across = np.diff(energy, axis=1)
    return np.packbits(np.diff(across, axis=0) < 0, axis=1).view(">u4")[:, 0].astype(np.uint32)


def similarity(one: bytes, other: bytes, shift: float = 0.5) -> float:
    """Share of equal bits of two fingerprints, 0 to 1, at the shift that suits them best.

    Strangers agree in half of their bits, give or take what their length leaves to chance; the
    paper takes 0.65 and more of three seconds or longer for one recording.

    Args:
        shift: seconds by which either may begin later, as where a copy was trimmed.
    """
    a, b = np.frombuffer(one, "<u4"), np.frombuffer(other, "<u4")
    most = round(shift * RATE / HOP)
    best = 0.0
    for offset in range(-most, most + 1):
        x, y = a[max(0, offset) :], b[max(0, -offset) :]
        shared = min(len(x), len(y))
        if shared >= _LEAST_FRAMES:
            differing = np.bitwise_count(x[:shared] ^ y[:shared]).sum()
            best = max(best, 1 - float(differing) / (32 * shared))
    return best


_WINDOW = np.hanning(FRAME)
_EDGES = np.round(_BANDS * FRAME / RATE).astype(int)
FINGERPRINT = SoundScorer(
    "audio_fingerprint", ("audio_fingerprint",), ("audio_id", "audio"), Fingerprint
)
