"""Log-mel spectrograms as pictures, which is how an image encoder hears."""

from functools import cache

import numpy as np

RATE = 16_000
SECONDS = 10.0  # of a recording that are heard
SIDE = 224
_WINDOW = 1024
_HOP = 160
_BANDS = 112
_RANGE = 80.0  # decibels beneath the loudest that still leave a trace
_SILENCE = 60.0
_STEP = SIDE // 2


def mel_windows(sound: np.ndarray) -> np.ndarray:
    """A recording at 16 kHz, float32 (n,), as uint8 (windows, 224, 224) of 2.24 s, half of which
    the next one shares. Time runs to the right, pitch upwards, 255 is the loudest; silence before
    and after is cut away, and what is short is followed by silence."""
    decibels = _decibels(sound)
    loud = np.flatnonzero(decibels.max(axis=1) > decibels.max() - _SILENCE)
    decibels = decibels[loud[0] : loud[-1] + 1]
    grey = np.clip((decibels - decibels.max()) / _RANGE + 1, 0, 1) * 255
    grey = np.repeat(grey.astype(np.uint8)[:, ::-1], SIDE // _BANDS, axis=1)
    windows = max(1, -(-(len(grey) - SIDE) // _STEP) + 1)
    padded = np.zeros((SIDE + (windows - 1) * _STEP, SIDE), np.uint8)
    padded[: len(grey)] = grey
    return np.stack([padded[i * _STEP : i * _STEP + SIDE].T for i in range(windows)])


def _decibels(sound: np.ndarray) -> np.ndarray:
    """(frames, bands), 100 frames a second."""
    sound = np.pad(sound, (_WINDOW // 2, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32))) ** 2
    return 10 * np.log10(power @ _filters() + 1e-10)


@cache
def _filters() -> np.ndarray:
    """(frequencies, bands): triangles that are equally wide on O'Shaughnessy's mel scale."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, _BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / RATE)[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
