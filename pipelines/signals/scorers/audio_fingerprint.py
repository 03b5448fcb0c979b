"""A fingerprint of how a recording sounds, by which copies of it are found.

After Haitsma and Kalker 2002, "A Highly Robust Audio Fingerprinting System": every 46 ms give 32
bits. Each bit says whether the difference of energy between two neighbouring bands (33 bands from
300 to 2,000 Hz) has grown since the frame before. Frames last 0.37 s and overlap, so copies agree
although their frames begin elsewhere. The paper takes a frame every 11.6 ms; that would be four
times the storage, which is not worth it for finding duplicates.
"""

from fractions import Fraction

import numpy as np

from pipelines.signals.scorer import AudioScorer, Values
from store.tables.signals import SCORERS

RATE, FRAME, HOP = 5500, 2048, 256  # Hz, samples, samples
SECONDS = 60  # of the beginning: enough to recognise a recording
_BANDS = np.geomspace(300, 2000, 34)  # Hz, their edges
_EDGES = np.round(_BANDS * FRAME / RATE).astype(int)  # as indices of the spectrum
_WINDOW = np.hanning(FRAME)
_MIN_RATE, _MAX_RATE = 4400, 768_000  # Hz
_SILENCE = 1e-4  # of full scale
_MIN_CODES = 16  # that two fingerprints must share: 0.75 s


class Fingerprint:
    """Keeps the first minute, as mono."""

    def __init__(self, rate: int, channels: int):
        self.rate = rate
        self.frames_left = SECONDS * rate if _MIN_RATE <= rate <= _MAX_RATE else 0
        self.blocks: list[np.ndarray] = []

    def add(self, block: np.ndarray) -> None:
        if self.frames_left > 0:
            self.blocks.append(block[: self.frames_left].mean(axis=1))
            self.frames_left -= len(block)

    def result(self) -> Values:
        """`audio_fingerprint`: little-endian uint32, 21.5 per second; null if the recording is
        shorter than 1.1 s, silent, or sampled at less than 4.4 kHz."""
        # Imported here: corpora without recordings need not wait a second for it.
        from scipy.signal import resample_poly

        mono = np.concatenate(self.blocks) if self.blocks else np.empty(0, np.float32)
        if not len(mono) or np.abs(mono).max() < _SILENCE:
            return {"audio_fingerprint": None}
        ratio = Fraction(RATE, self.rate).limit_denominator(1000)
        codes = fingerprint(resample_poly(mono, ratio.numerator, ratio.denominator))
        is_long_enough = len(codes) >= _MIN_CODES
        return {"audio_fingerprint": codes.astype("<u4").tobytes() if is_long_enough else None}


def fingerprint(mono: np.ndarray) -> np.ndarray:
    """The codes of a recording.

    Args:
        mono: samples (n,) at 5,500 Hz.

    Returns:
        Uint32 (frames - 1,); none if there are fewer than two frames.
    """
    if len(mono) < FRAME + HOP:
        return np.empty(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(mono, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)) ** 2
    energy = np.add.reduceat(power, _EDGES, axis=1)[:, :-1]
    differences = np.diff(energy, axis=1)
    bits = np.diff(differences, axis=0) < 0
    return np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32)


def similarity(one: bytes, other: bytes, shift: float = 0.5) -> float:
    """The share of equal bits of two fingerprints, 0 to 1, at the best shift.

    Different recordings agree in about half of their bits; the shorter they are, the more this
    varies. The paper takes 0.65 or more over 3 seconds or longer as the same recording.

    Args:
        one, other: values of `audio_fingerprint`.
        shift: seconds by which either may begin later, for example because it was trimmed.

    Returns:
        0 if the fingerprints share less than 0.75 s at every shift.
    """
    a, b = np.frombuffer(one, "<u4"), np.frombuffer(other, "<u4")
    max_offset = round(shift * RATE / HOP)
    best = 0.0
    for offset in range(-max_offset, max_offset + 1):
        x, y = a[max(0, offset) :], b[max(0, -offset) :]
        shared = min(len(x), len(y))
        if shared >= _MIN_CODES:
            different_bits = np.bitwise_count(x[:shared] ^ y[:shared]).sum()
            best = max(best, 1 - float(different_bits) / (32 * shared))
    return best


FINGERPRINT = AudioScorer(
    "audio_fingerprint", SCORERS["audio_fingerprint"].names, ("audio_id", "audio"), Fingerprint
)
