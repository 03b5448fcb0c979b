"""Traces of edits: two compressions, a pasted region, resampling."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.fft import dctn

from pipelines.signals.decoded_image import decode_reduced
from pipelines.signals.scorers import jpeg_history
from pipelines.signals.scorers.image_edits import score
from pipelines.signals.scorers.resampling import resampling
from store.errors import RecordError

SIDE = 384


def texture(seed: int, side: int = SIDE) -> Image.Image:
    """An image whose spectrum falls as that of photographs does."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    channels = [
        np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) / (frequency + 0.01) ** 1.1)
        for _ in range(3)
    ]
    pixels = np.stack([128 + 45 * c / c.std() for c in channels], axis=-1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def saved(image: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


def compressed(image: Image.Image, *qualities: int) -> bytes:
    """A JPEG that was compressed once for each quality."""
    data = b""
    for quality in qualities:
        data = saved(image, format="JPEG", quality=quality)
        image = Image.open(io.BytesIO(data))
    return data


def measured(data: bytes) -> dict:
    return dict(score(decode_reduced(data)))


@pytest.mark.parametrize(("first", "second"), [(60, 75), (75, 90), (85, 95)])
@pytest.mark.parametrize("seed", range(3))
def test_a_second_compression_is_visible(first, second, seed) -> None:
    once = measured(compressed(texture(seed), second))
    twice = measured(compressed(texture(seed), first, second))
    assert once["image_double_jpeg"] < 0.05 < 0.2 < twice["image_double_jpeg"]
    assert once["image_splice"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_pasted_region_lacks_the_first_compression(seed) -> None:
    whole = Image.open(io.BytesIO(compressed(texture(seed), 70))).convert("RGB")
    pasted = whole.copy()
    pasted.paste(texture(seed + 10).crop((0, 0, 160, 160)), (113, 51))
    without = measured(compressed(whole, 90))["image_splice"]
    assert without < 0.7 < measured(compressed(pasted, 90))["image_splice"]


@pytest.mark.parametrize("save", [{"format": "PNG"}, {"format": "JPEG", "quality": 95}])
def test_scaled_images_have_a_peak(save) -> None:
    size = round(1.4 * SIDE)
    scaled = texture(1).resize((size, size), Image.Resampling.BILINEAR)
    original = measured(saved(texture(1), **save))["image_resampled"]
    assert 2 * original < measured(saved(scaled, **save))["image_resampled"]


def test_an_image_that_is_no_jpeg_has_no_history() -> None:
    values = measured(saved(texture(0), format="PNG"))
    assert values["image_double_jpeg"] is None
    assert values["image_splice"] is None
    assert values["image_resampled"] > 0


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (300, 300), "white"),
        Image.new("L", (300, 300)),
        Image.new("RGB", (1, 5000)),
        Image.new("RGB", (7, 7)),
        texture(0).crop((0, 0, 23, 300)),
    ],
)
def test_flat_and_small_images_have_no_values(image) -> None:
    assert set(measured(saved(image, format="JPEG")).values()) == {None}


def test_channels_that_are_not_luma_are_no_history() -> None:
    inverted = saved(texture(0).convert("CMYK"), format="JPEG", quality=90)
    assert measured(inverted)["image_double_jpeg"] is None
    grey = compressed(texture(0).convert("L"), 75, 90)
    assert measured(grey)["image_double_jpeg"] > 0.3


def test_only_the_middle_of_a_large_image_is_measured() -> None:
    large = texture(3, 1056)
    middle = large.crop((16, 16, 1040, 1040))
    of_large, of_middle = (measured(saved(i, format="PNG")) for i in (large, middle))
    assert of_large == of_middle


def test_a_truncated_file_is_a_record_error() -> None:
    data = compressed(texture(0), 90)
    image = decode_reduced(data)
    image.data = data[: len(data) // 2]
    with pytest.raises(RecordError, match="truncated"):
        score(image)


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40))))
def test_coefficients_are_those_of_the_cosine_transform(luma) -> None:
    coefficients = jpeg_history._coefficients(luma)
    for row, column in np.ndindex(luma.shape[0] // 8, luma.shape[1] // 8):
        block = luma[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] - 128.0
        expected = dctn(block, norm="ortho")
        np.testing.assert_allclose(coefficients[row, column], expected, atol=1e-2)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20), st.integers(2, 20), st.integers(0, 2**32 - 1))
def test_the_first_step_is_the_one_that_coefficients_were_rounded_to(first, second, seed) -> None:
    rng = np.random.default_rng(seed)
    values = rng.laplace(scale=30, size=20_000)
    once = np.abs(np.rint(np.rint(values / first) * first / second)).astype(np.int64)
    counted = np.bincount(np.minimum(once, jpeg_history._LEVELS - 1), minlength=24)
    gain, by_level = jpeg_history._first_step(counted, np.abs(values), float(second))
    assert gain >= 0
    assert by_level[0] == 0
    if 2 * first >= 3 * second and first % second:  # it leaves gaps between the levels
        assert gain > 0.05


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, (17, 15), elements=st.floats(-5, 5)))
def test_windows_are_sums_of_their_blocks(blocks) -> None:
    sums = jpeg_history._windows(blocks)
    size = jpeg_history._WINDOW
    for row, column in np.ndindex(*sums.shape):
        window = blocks[row : row + size, column : column + size]
        assert sums[row, column] == pytest.approx(window.sum(), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 200), st.integers(1, 200))), st.booleans())
def test_resampling_is_finite_for_any_pixels(luma, has_blocks) -> None:
    value = resampling(luma, has_blocks)
    assert value is None or (np.isfinite(value) and value > 0)
