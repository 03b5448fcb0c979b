"""Recordings are cut into windows and images into tiles, and these are encoded."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedders.media.cut import tiles, windows
from embedders.moments import MomentEncoder
from embedders.registry import load_encoder
from store import errors
from store.tables import moments
from tests.helpers.corpus import ColourImage, ColourText

RATE = 8000


def wav(samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, RATE, format="WAV", subtype="FLOAT")
    return out.getvalue()


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    st.integers(1, 5 * RATE),
    st.sampled_from([0.25, 1.0, 2.0]),
    st.sampled_from([0.25, 0.5, 3.0]),
    st.integers(1, 12),
)
def test_windows_cover_a_recording(frames: int, seconds: float, step: float, most: int) -> None:
    samples = np.random.default_rng(frames).uniform(-1, 1, frames).astype(np.float32)
    cut = list(windows(wav(samples), seconds, step, most))
    covered = np.zeros(frames, bool)
    for number, (data, (start, end, *_)) in enumerate(cut):
        own, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        first = round(start * RATE)
        assert rate == RATE
        np.testing.assert_array_equal(own, samples[first : round(end * RATE)])
        assert len(own) == min(frames, seconds * RATE)
        assert start == pytest.approx(min(number * step, max(0, frames / RATE - seconds)))
        covered[first : first + len(own)] = True
    assert len(cut) <= most
    limit = min(frames, round(((most - 1) * step + seconds) * RATE))
    if step <= seconds:
        assert covered[:limit].all()
    assert not covered[limit:].any()


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 5), st.sampled_from([0.0, 0.25, 0.5]))
def test_tiles_cover_an_image(width: int, height: int, count: int, overlap: float) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    cut = list(tiles(png(pixels), count, overlap))
    assert len(cut) == count * count
    covered = np.zeros((height, width), bool)
    for tile, (left, top, right, bottom) in cut:
        assert 0 <= left < right <= 1 + 1e-9
        assert 0 <= top < bottom <= 1 + 1e-9
        assert right - left == pytest.approx(1 / (count - (count - 1) * overlap))
        x, y = min(round(left * width), width - 1), min(round(top * height), height - 1)
        own = pixels[y : y + tile.height, x : x + tile.width]
        np.testing.assert_array_equal(np.asarray(tile), own)
        covered[y : y + tile.height, x : x + tile.width] = True
    assert covered.all()


def test_moments_are_encoded_as_parts_of_their_own() -> None:
    encoder = MomentEncoder(ColourImage(), "2,0")
    colours = [(200, 30, 30), (30, 200, 40), (30, 40, 220), (230, 220, 40)]
    square = np.zeros((20, 20, 3), np.uint8)
    for n, colour in enumerate(colours):
        square[10 * (n // 2) : 10 * (n // 2) + 10, 10 * (n % 2) : 10 * (n % 2) + 10] = colour
    prepared = encoder.prepare(png(square))
    assert encoder.cost(prepared) == 4
    rows = encoder.encode([prepared, encoder.prepare(png(square[:10, :10]))])
    assert rows.shape == (2, encoder.dim)
    made = moments.unpack(rows, ColourImage.dim)
    expected = [
        ColourImage().encode([np.full((10, 10, 3), colour, np.float32)])[0] for colour in colours
    ]
    np.testing.assert_allclose(made.vectors[:4], expected, atol=1e-6)
    np.testing.assert_allclose(made.vectors[4:], [expected[0]] * 4, atol=1e-6)
    np.testing.assert_allclose(made.spans[1], [0.5, 0, 1, 0.5])
    assert encoder.fingerprint == "colour-image@1+moments=2,0"


def test_a_spec_has_the_option() -> None:
    encoder = load_encoder("local:audio?moments=2,1,10")
    assert isinstance(encoder, MomentEncoder)
    assert encoder.dim == 10 * (load_encoder("local:audio").dim + 4)
    for spec, message in (
        ("local:text?moments=2,0", "text, which has no moments"),
        ("local:image?moments=2", "tiles,overlap"),
        ("local:audio?moments=a,b,c", "seconds,step,most"),
    ):
        with pytest.raises(errors.EncoderError, match=message):
            load_encoder(spec)
    with pytest.raises(errors.EncoderError):
        MomentEncoder(ColourText(), "2,0")


# A recording holds the second in which it was written, so its bytes cannot name a test.
@pytest.mark.parametrize(
    "data",
    [b"", b"RIFF", b"\x89PNG\r\n\x1a\n broken", wav(np.zeros(0))],
    ids=["empty", "riff-only", "broken-png", "no-samples"],
)
def test_broken_media_are_records_with_problems(data: bytes) -> None:
    for spec in ("local:audio?moments=2,1,10", "local:image?moments=2,0"):
        with pytest.raises(errors.RecordError):
            load_encoder(spec).prepare(data)
