"""Audio signals: on known tones and levels, by the standards, in blocks of any size."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.signals.decoded_audio import measure_audio
from pipelines.signals.registry import DEFAULT_SCORERS
from pipelines.signals.scorer import AudioScorer
from pipelines.signals.scorers import (
    audio_bandwidth,
    audio_fingerprint,
    audio_levels,
    audio_loudness,
    audio_speech,
)
from pipelines.signals.scorers.audio_fingerprint import similarity

AUDIO_SCORERS = [s for s in DEFAULT_SCORERS if isinstance(s, AudioScorer)]
RATE = 48_000


def sine(seconds: float, db: float, hertz: float = 997, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return 10 ** (db / 20) * np.sin(2 * np.pi * hertz * time)


def encoded(sound: np.ndarray, rate: int = RATE, format: str = "WAV", **options) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, sound, rate, format=format, **options)
    return out.getvalue()


def measure(scorer: AudioScorer, sound: np.ndarray, rate: int = RATE, block: int = 10_000) -> dict:
    """The values of one scorer, which gets `block` frames at a time."""
    sound = np.atleast_2d(np.asarray(sound, np.float32).T).T
    meter = scorer.start(rate, sound.shape[1])
    for start in range(0, len(sound), block):
        meter.add(sound[start : start + block])
    return dict(meter.result())


def stereo(sound: np.ndarray) -> np.ndarray:
    return np.stack([sound, sound], axis=1)


# Loudness: the requirement of ITU-R BS.1770, and test signals of EBU Tech 3341


def loudness(sound: np.ndarray, rate: int = RATE) -> float:
    return measure(audio_loudness.LOUDNESS, sound, rate)["audio_loudness"]


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000, 96_000])
def test_a_full_scale_tone_has_the_loudness_of_the_standard(rate: int) -> None:
    assert loudness(sine(2, 0, 997, rate), rate) == pytest.approx(-3.01, abs=0.05)


def test_the_test_signals_of_ebu_tech_3341() -> None:
    quiet, normal, loud = (stereo(sine(s, d, 1000)) for s, d in ((10, -36), (60, -23), (5, -72)))
    assert loudness(stereo(sine(20, -23, 1000))) == pytest.approx(-23, abs=0.1)
    assert loudness(stereo(sine(20, -33, 1000))) == pytest.approx(-33, abs=0.1)
    assert loudness(np.concatenate([quiet, normal, quiet])) == pytest.approx(-23, abs=0.1)
    gated = np.concatenate([loud, quiet, normal, quiet, loud])
    assert loudness(gated) == pytest.approx(-23, abs=0.1)
    centre = np.zeros((20 * RATE, 6))
    for channel, db in ((0, -28), (1, -28), (2, -24), (4, -30), (5, -30)):
        centre[:, channel] = sine(20, db, 1000)
    assert loudness(centre) == pytest.approx(-23, abs=0.1)


def test_loudness_of_silent_short_and_slow_recordings() -> None:
    assert loudness(np.zeros(RATE)) == -70
    assert loudness(sine(0.3, 0)) is None
    assert loudness(sine(1, 0, 100, 2000), 2000) is None


# Levels


def test_clipping_and_silence_are_shares() -> None:
    sound = np.concatenate([np.zeros(RATE // 2), sine(0.5, -20)])
    sound[:480] = 1.0
    sound[480:960] = -1.0
    values = measure(audio_levels.LEVELS, sound)
    assert values["audio_clipping"] == pytest.approx(960 / RATE)
    assert values["audio_silence"] == pytest.approx(0.5 - 0.02)


@pytest.mark.parametrize("db", [5, 10, 20, 40])
def test_noise_is_measured_in_pauses_of_the_signal(db: float) -> None:
    rng = np.random.default_rng(db)
    noise = 0.01 * rng.normal(size=10 * RATE)
    power = 0.01**2 * 10 ** (db / 10)
    tone = np.sqrt(2 * power) * np.sin(np.arange(10 * RATE) * 0.1)
    tone[: 4 * RATE] = 0
    ratio = measure(audio_levels.LEVELS, noise + tone)["audio_snr"]
    assert ratio == pytest.approx(db, abs=1.0)


def test_levels_of_silent_short_and_noiseless_recordings() -> None:
    assert measure(audio_levels.LEVELS, np.zeros(RATE))["audio_snr"] is None
    assert measure(audio_levels.LEVELS, sine(0.05, -6))["audio_snr"] is None
    pauses = np.concatenate([np.zeros(RATE), sine(1, -6)])
    assert measure(audio_levels.LEVELS, pauses)["audio_snr"] == 100
    assert measure(audio_levels.LEVELS, np.full(5, 0.5))["audio_silence"] == 0


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_bandwidth_is_the_highest_frequency_with_content(rate: int) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=4 * RATE) * 0.1)
    spectrum[4 * rate // 2 :] = 0  # of four seconds, so four values per Hz
    bandwidth = measure(audio_bandwidth.BANDWIDTH, np.fft.irfft(spectrum))["audio_bandwidth"]
    assert bandwidth == pytest.approx(rate / 2, abs=80)
    assert measure(audio_bandwidth.BANDWIDTH, sine(1, -6, 5000))["audio_bandwidth"] < 5100
    assert measure(audio_bandwidth.BANDWIDTH, np.zeros(RATE))["audio_bandwidth"] is None


# Fingerprints


def music(seed: int, seconds: float = 10, rate: int = 44_100) -> np.ndarray:
    """Notes of several partials over low noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    out = 0.003 * rng.normal(size=len(time))
    for _ in range(round(seconds * 5)):
        start, length = rng.uniform(0, seconds), rng.uniform(0.15, 0.9)
        span = slice(int(start * rate), int((start + length) * rate))
        local = time[span] - start
        note = 110 * 2 ** (rng.integers(0, 40) / 12)
        envelope = np.exp(-local * rng.uniform(2, 8))
        for partial in range(1, 6):
            phase = rng.uniform(0, 6.28)
            out[span] += 0.12 / partial * envelope * np.sin(6.2832 * note * partial * local + phase)
    return np.clip(out, -0.98, 0.98)


def fingerprint(data: bytes) -> bytes:
    values, failures = measure_audio(data, [audio_fingerprint.FINGERPRINT])
    assert not failures
    return values["audio_fingerprint"]


def test_copies_have_similar_fingerprints_and_other_recordings_do_not() -> None:
    rate, fingerprints, worst = 44_100, [], 1.0
    for seed in range(4):
        sound = music(seed, 6)
        own = fingerprint(encoded(sound, rate, "FLAC"))
        fingerprints.append(own)
        copies = [
            encoded(sound, rate, "MP3", bitrate_mode="CONSTANT", compression_level=0.8),
            encoded(sound, rate, "OGG", subtype="VORBIS"),
            encoded(0.25 * sound, rate, "OGG", subtype="VORBIS"),
            encoded(sound[round(0.2 * rate) :], rate, "MP3"),
            encoded(sound[: -round(0.2 * rate)], rate, "FLAC"),
            encoded(sound[round(0.177 * rate) :][::2], rate // 2),
        ]
        worst = min(worst, *(similarity(own, fingerprint(c)) for c in copies))
    assert worst > 0.7
    for i, one in enumerate(fingerprints):
        for other in fingerprints[:i]:
            assert similarity(one, other) < 0.62


def test_similarity_is_a_share_of_bits_at_the_best_shift() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 1 << 32, 200, dtype=np.uint32)
    b = np.concatenate([rng.integers(0, 1 << 32, 6, dtype=np.uint32), a])
    b[10::5] ^= np.uint32(1)
    flipped = sum(1 for i in range(10, len(b), 5))
    expected = 1 - flipped / (32 * len(a))
    assert similarity(a.tobytes(), b.tobytes()) == pytest.approx(expected, abs=1e-6)
    assert similarity(b.tobytes(), a.tobytes()) == pytest.approx(expected, abs=1e-6)
    assert similarity(a.tobytes(), a.tobytes()) == 1.0
    assert similarity(a[:10].tobytes(), a[:10].tobytes()) == 0.0  # too short to compare


def test_silent_short_and_slow_recordings_have_no_fingerprint() -> None:
    assert fingerprint(encoded(np.zeros(RATE * 3))) is None
    assert fingerprint(encoded(sine(0.3, -6))) is None
    assert fingerprint(encoded(sine(30, -6, 300, 2000), 2000)) is None
    long = fingerprint(encoded(sine(70, -6, 440, 8000), 8000))
    assert len(long) / 4 * audio_fingerprint.HOP / audio_fingerprint.RATE < 60


def test_speech_equals_the_result_of_the_package() -> None:
    import silero_vad
    import torch

    model = silero_vad.load_silero_vad(onnx=True)
    rate = 16_000
    for sound in (np.zeros(3 * rate), sine(3, -20, 440, rate), vowels(rate)):
        windows = torch.from_numpy(sound[: len(sound) // 512 * 512].astype(np.float32)).split(512)
        model.reset_states()
        expected = [float(model(window, rate)) >= 0.5 for window in windows]
        assert measure(audio_speech.SPEECH, sound, rate)["audio_speech"] == np.mean(expected)
    assert 0 < np.mean(expected) < 1
    resampled = measure(audio_speech.SPEECH, vowels(48_000), 48_000)["audio_speech"]
    assert resampled == pytest.approx(np.mean(expected), abs=0.2)
    assert measure(audio_speech.SPEECH, np.zeros(20), rate)["audio_speech"] is None


def vowels(rate: int) -> np.ndarray:
    """Syllables like a voice: a glottal pulse train, filtered by the formants of vowels."""
    from scipy.signal import lfilter

    formants = [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480)]
    out = []
    for number in range(12):
        time = np.arange(round(0.22 * rate)) / rate
        pitch = 120 + 15 * np.sin(2 * np.pi * 3 * time + number)
        pulses = np.diff(np.floor(np.cumsum(pitch) / rate), prepend=0)
        for hertz in formants[number % 4]:
            radius = np.exp(-np.pi * 80 / rate)
            poles = [1, -2 * radius * np.cos(2 * np.pi * hertz / rate), radius**2]
            pulses = lfilter([1 - radius], poles, pulses)
        syllable = pulses * np.hanning(len(pulses))
        out += [0.3 * syllable / np.abs(syllable).max(), np.zeros(round(0.05 * rate))]
    return np.concatenate(out)


@settings(max_examples=20)
@given(st.integers(1, 5000), st.sampled_from([1, 2, 3]))
def test_values_do_not_depend_on_the_size_of_blocks(block: int, channels: int) -> None:
    rng = np.random.default_rng(block)
    sound = (0.1 * rng.normal(size=(12_000, channels))).clip(-1, 1)
    sound[3000:5000] = 0
    for scorer in AUDIO_SCORERS:
        in_one_block = measure(scorer, sound, 8000, len(sound))
        in_blocks = measure(scorer, sound, 8000, block)
        assert in_blocks.keys() == in_one_block.keys() == set(scorer.gives)
        for name, value in in_one_block.items():
            same = value if isinstance(value, bytes) or value is None else pytest.approx(value)
            assert in_blocks[name] == same, name


def test_a_scorer_that_raises_leaves_the_values_of_the_others() -> None:
    class Failing:
        def add(self, block: np.ndarray) -> None:
            raise ZeroDivisionError("failing")

    bad = AudioScorer("bad", ("audio_speech",), ("audio",), lambda rate, channels: Failing())
    values, failures = measure_audio(encoded(sine(1, -6)), [bad, *AUDIO_SCORERS])
    assert set(failures) == {"bad"}
    assert values["audio_loudness"] == pytest.approx(-9, abs=0.2)
    assert "audio_speech" not in values


@pytest.mark.parametrize("rate", [1, 100, 4399, 768_001, 2_000_000_000])
def test_unusual_sample_rates_give_null_or_finite_numbers(rate: int) -> None:
    for scorer in (*AUDIO_SCORERS, audio_speech.SPEECH):
        values = measure(scorer, sine(1, -6, 1, 1000), rate)
        assert all(v is None or isinstance(v, bytes) or np.isfinite(v) for v in values.values())
