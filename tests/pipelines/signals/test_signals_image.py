"""Image signals: against direct formulas, and on copies of images."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageEnhance

from embedders.media.image import load_rgb
from pipelines.signals.decoded_image import decode_reduced, measure_image
from pipelines.signals.scorer import DecodedImage
from pipelines.signals.scorers import image_hash, image_pixels
from pipelines.signals.scorers.image_classifier import classifier
from store.config.signals import Classifier
from store.errors import EncoderError, RecordError
from tests.helpers.rubbish import picture, with_orientation


def encoded(pixels: np.ndarray | Image.Image, format: str = "PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def scene(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """An image like a photograph: detail at every scale, with correlated colours."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3), np.float32)
    for cells, weight in ((3, 1.0), (6, 0.6), (14, 0.35), (40, 0.2), (120, 0.1)):
        coarse = rng.normal(size=(cells, cells + 1, 1)) + 0.4 * rng.normal(
            size=(cells, cells + 1, 3)
        )
        small = np.clip(127 + 30 * coarse, 0, 255).astype(np.uint8)
        large = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        total += weight * (np.asarray(large, np.float32) - 127)
    return Image.fromarray(np.clip(127 + total, 0, 255).astype(np.uint8))


LUMA = hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(LUMA)
def test_pixel_signals_equal_the_formulas(luma: np.ndarray) -> None:
    signals = image_pixels.score(DecodedImage(Image.fromarray(luma).convert("RGB"), animated=False))
    values = luma.astype(np.float64)
    assert signals["image_brightness"] == pytest.approx(values.mean() / 255, abs=1e-9)
    assert signals["image_contrast"] == pytest.approx(values.std() / 255, abs=1e-9)
    share = np.unique(luma, return_counts=True)[1] / luma.size
    assert signals["image_entropy"] == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-9)
    near = max((abs(values - level) <= 4).mean() for level in range(256))
    assert signals["image_uniformity"] == pytest.approx(near, abs=1e-9)
    height, width = luma.shape
    edges = [
        values[y - 1, x] + values[y + 1, x] + values[y, x - 1] + values[y, x + 1] - 4 * values[y, x]
        for y in range(1, height - 1)
        for x in range(1, width - 1)
    ]
    expected = np.var(edges) if edges else 0.0
    assert signals["image_sharpness"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_blurred_image_is_less_sharp_and_a_flat_image_is_uniform() -> None:
    sharp = scene(1)
    small = sharp.resize((64, 48), Image.Resampling.BILINEAR)
    blurred = small.resize(sharp.size, Image.Resampling.BILINEAR)
    signals = [image_pixels.score(decode_reduced(encoded(i))) for i in (sharp, blurred)]
    assert signals[0]["image_sharpness"] > 3 * signals[1]["image_sharpness"]
    flat = image_pixels.score(
        decode_reduced(encoded(Image.new("RGB", (80, 60), (9, 99, 9)), "JPEG"))
    )
    assert (flat["image_uniformity"], flat["image_sharpness"]) == (1.0, 0.0)
    assert signals[0]["image_uniformity"] < 0.2


def test_only_animations_are_animated() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "green", "blue")]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"append_images": frames[1:], "save_all": True}
        moving = encoded(frames[0], format, **options)
        still = encoded(frames[0], format)
        assert [decode_reduced(d).animated for d in (moving, still)] == [True, False], format
    assert not decode_reduced(picture("JPEG")).animated


def loads(data: bytes) -> bool:
    try:
        load_rgb(data)
    except RecordError:
        return False
    return True


def test_a_damaged_second_frame_costs_nothing_else() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 40, 40), np.uint8)
    frames = [Image.fromarray(pixels).convert("P") for pixels in noise]
    whole = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    complete = next(end for end in range(len(whole)) if loads(whole[:end]))
    damaged = 0
    for end in range(complete, len(whole)):
        data = whole[:end]
        try:
            assert Image.open(io.BytesIO(data)).is_animated in (True, False)
        except (IndexError, struct.error):
            damaged += 1
            assert decode_reduced(data).animated
        np.testing.assert_array_equal(decode_reduced(data).rgb, load_rgb(data))
    assert damaged


@pytest.mark.parametrize("size", [(5000, 300), (300, 5000), (2, 3000), (20, 10), (256, 256)])
def test_images_are_measured_at_one_size(size: tuple[int, int]) -> None:
    width, height = decode_reduced(encoded(Image.new("RGB", size))).rgb.size
    assert min(width, height) <= 256
    assert max(width, height) <= 1024
    assert width <= size[0]
    assert height <= size[1]
    scale = min(1, 256 / min(size), 1024 / max(size))
    assert (width, height) == tuple(max(1, round(s * scale)) for s in size)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_measured_upright(orientation: int) -> None:
    upright = decode_reduced(with_orientation(orientation, "JPEG", (40, 20)))
    assert upright.rgb.size == ((20, 40) if orientation >= 5 else (40, 20))


# The perceptual hash


def pdq(data: bytes) -> np.ndarray:
    return np.frombuffer(image_hash.score(decode_reduced(data))["image_pdq"], np.uint8)


def distances(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Hamming distances between two arrays of hashes, uint8 (n, 32), row by row."""
    return np.bitwise_count(hashes ^ others).sum(axis=-1, dtype=np.int32)


def copies(image: Image.Image) -> dict[str, bytes]:
    return {
        "half": encoded(image.resize((image.width // 2, image.height // 2)), "JPEG", quality=85),
        "quality 40": encoded(image, "JPEG", quality=40),
        "brightened": encoded(ImageEnhance.Brightness(image).enhance(1.2), "JPEG", quality=90),
        "grey": encoded(image.convert("L"), "JPEG", quality=90),
        "webp": encoded(image, "WEBP", quality=70),
    }


def test_hashes_of_copies_are_near_and_of_other_images_far() -> None:
    originals = [scene(seed) for seed in range(6)]
    hashes = np.stack([pdq(encoded(o)) for o in originals])
    for image, own in zip(originals, hashes, strict=True):
        found = {n: int(distances(own, pdq(d))) for n, d in copies(image).items()}
        assert max(found.values()) <= 31, found  # the radius that Meta recommends
    apart = distances(hashes[:, None], hashes[None])[~np.eye(len(hashes), dtype=bool)]
    assert apart.min() > 60
    assert 100 < apart.mean() < 140


def test_distances_count_bits() -> None:
    one, other = np.zeros((2, 32), np.uint8), np.zeros((2, 32), np.uint8)
    other[1, 3], other[1, 31] = 0b101, 0xFF
    assert distances(one, other).tolist() == [0, 10]


def test_a_featureless_image_has_quality_0() -> None:
    signals = image_hash.score(decode_reduced(encoded(Image.new("RGB", (50, 50), "white"))))
    assert signals["image_pdq_quality"] == 0
    assert len(signals["image_pdq"]) == 32


# Models


def test_a_classifier_from_a_file(tmp_path) -> None:
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=3).eval()
    weights = tmp_path / "head.pt"
    torch.save(model.state_dict(), weights)
    config = Classifier(model=f"timm/test_vit:{weights}", output=1, activation="softmax", side=160)
    scorer = classifier("image_watermark", config, config.path(tmp_path))
    image = scene(4, (256, 256))
    value = scorer.score(DecodedImage(image, animated=False))["image_watermark"]
    small = np.asarray(image.resize((160, 160), Image.Resampling.BICUBIC), np.float32) / 255
    normal = (small - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    with torch.inference_mode():
        output = model(torch.from_numpy(normal.transpose(2, 0, 1)[None]).float())
    assert value == pytest.approx(float(output.softmax(1)[0, 1]), abs=1e-5)
    beyond = classifier("image_class", config.model_copy(update={"output": 3}), weights)
    with pytest.raises(EncoderError, match="there is no 3"):
        beyond.score(DecodedImage(image, animated=False))


def test_a_file_that_is_no_model_is_an_encoder_error(tmp_path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    config = Classifier(model="onnx:x.onnx")
    _, failures = measure_image(picture(), [classifier("image_class", config, tmp_path / "x.onnx")])
    assert isinstance(failures["image_class"], EncoderError)


@settings(max_examples=30)
@given(st.binary(max_size=60))
def test_every_scorer_fails_for_bytes_that_are_no_image(data: bytes) -> None:
    values, failures = measure_image(data, [image_pixels.PIXELS, image_hash.HASH])
    assert not values
    assert set(failures) == {"image_pixels", "image_hash"}
