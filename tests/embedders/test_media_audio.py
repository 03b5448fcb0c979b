"""Recordings as the input of encoders: mono, at a given rate, and of limited length."""

import io

import numpy as np
import pytest
import soundfile

from embedders.media.audio import load_mono
from store.errors import RecordError
from tests.helpers.rubbish import tone


@pytest.mark.parametrize(("format", "channels"), [("WAV", 1), ("FLAC", 2), ("OGG", 2), ("MP3", 1)])
def test_recordings_become_mono_at_the_given_rate(format, channels, tmp_path):
    data = tone(format, seconds=1.0, rate=44100, channels=channels)
    sound = load_mono(data, 16000, max_seconds=10)
    assert sound.dtype == np.float32
    assert abs(len(sound) - 16000) <= 1200  # MP3 pads
    spectrum = np.abs(np.fft.rfft(sound))
    assert abs(spectrum.argmax() * 16000 / len(sound) - 440) < 2
    assert 0.4 < np.abs(sound).max() < 0.6
    (tmp_path / "sound").write_bytes(data)
    np.testing.assert_array_equal(load_mono(tmp_path / "sound", 16000, 10), sound)


def test_channels_are_averaged():
    out = io.BytesIO()
    soundfile.write(out, np.tile([0.5, -0.25], (8000, 1)), 8000, format="WAV", subtype="FLOAT")
    np.testing.assert_allclose(load_mono(out.getvalue(), 8000, 1), 0.125)


def test_only_the_beginning_is_decoded():
    data = tone("FLAC", seconds=30, rate=8000)
    assert len(load_mono(data, 16000, max_seconds=2)) == 32000
    assert len(load_mono(data, 16000, max_seconds=2.5)) == 40000


def test_recordings_that_cannot_be_loaded():
    not_finite = io.BytesIO()
    soundfile.write(not_finite, np.array([0.0, np.nan]), 8000, format="WAV", subtype="FLOAT")
    cases = {
        "audio.empty": [b"", tone(seconds=0)],
        "audio.format": [b"not a sound at all"],
        "audio.truncated": [tone("OGG")[:-20], tone()[:-20]],
        "audio.not_finite": [not_finite.getvalue()],
        "audio.rate": [tone(rate=1_000_000, seconds=0.001)],
    }
    for rule, recordings in cases.items():
        for data in recordings:
            with pytest.raises(RecordError) as caught:
                load_mono(data, 16000, 10)
            assert caught.value.rule == rule
