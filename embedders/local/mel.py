"""Log-mel spectrograms as grey images, so that an image encoder can encode audio."""

from functools import cache

import numpy as np

RATE = 16_000  # Hz
SECONDS = 10.0  # of a recording that are used
SIDE = 224  # of an image, in pixels; one column is 10 ms
_WINDOW = 1024  # samples of a frame
_HOP = 160  # samples between frames
_BANDS = 112
_RANGE = 80.0  # decibels below the loudest value that become black
_SILENCE = 60.0  # decibels below the loudest value from which a frame counts as silent
_STEP = SIDE // 2


def mel_windows(samples: np.ndarray) -> np.ndarray:
    """Make the spectrogram of a recording and cut it into windows of 2.24 s.

    Each window shares its second half with the next one. Time runs to the right, pitch upwards,
    and 255 is the loudest. Silence at the beginning and at the end is cut off; a short window is
    padded with silence.

    Args:
        samples: float32 (n,) at 16 kHz.

    Returns:
        uint8 (windows, 224, 224).
    """
    decibels = _mel_decibels(samples)
    loud = np.flatnonzero(decibels.max(axis=1) > decibels.max() - _SILENCE)
    decibels = decibels[loud[0] : loud[-1] + 1]
    grey = np.clip((decibels - decibels.max()) / _RANGE + 1, 0, 1) * 255
    grey = np.repeat(grey.astype(np.uint8)[:, ::-1], SIDE // _BANDS, axis=1)
    windows = max(1, -(-(len(grey) - SIDE) // _STEP) + 1)
    padded = np.zeros((SIDE + (windows - 1) * _STEP, SIDE), np.uint8)
    padded[: len(grey)] = grey
    return np.stack([padded[i * _STEP : i * _STEP + SIDE].T for i in range(windows)])


def _mel_decibels(samples: np.ndarray) -> np.ndarray:
    """The log-mel spectrogram (frames, bands), 100 frames a second."""
    samples = np.pad(samples, (_WINDOW // 2, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32))) ** 2
    return 10 * np.log10(power @ _mel_filters() + 1e-10)


@cache
def _mel_filters() -> np.ndarray:
    """Triangular filters (frequencies, bands), of equal width on O'Shaughnessy's mel scale."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, _BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / RATE)[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
