"""Decoding of delivered media: valid, truncated, damaged and hostile images, audio and text."""

import io
import json
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedders.media.audio import AudioInfo, read_audio
from embedders.media.image import ImageInfo, load_rgb, read_image, thumbnail
from embedders.media.text import read_meta, read_text
from store.config.limits import Limits
from store.errors import RecordError
from tests.helpers.rubbish import picture, png_claiming_size, tone, with_orientation

LIMITS = Limits()


def rule_of(read, data, limits=LIMITS):
    """The rule of the RecordError that `read` raises."""
    with pytest.raises(RecordError) as caught:
        read(data, limits)
    return caught.value.rule


# Images

PICTURES = [
    ("PNG", {}),
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
]


@pytest.mark.parametrize(("format", "options"), PICTURES)
def test_images_are_described_and_every_truncation_is_detected(format, options):
    data = picture(format, (40, 30), **options)
    assert read_image(data, LIMITS) == ImageInfo(format.lower(), 40, 30)
    for cut in range(1, len(data), max(1, len(data) // 60)):
        rule = rule_of(read_image, data[:cut])
        assert rule in ("image.truncated", "image.broken", "image.format")


@settings(max_examples=80)
@given(st.sampled_from(PICTURES), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255))))
def test_damaged_images_raise_only_record_errors(kind, damage):
    data = bytearray(picture(kind[0], **kind[1]))
    for position, value in damage:
        data[int(position * len(data))] = value
    try:
        read_image(bytes(data), Limits(image_pixels=10_000))
        load_rgb(bytes(data))
    except RecordError:
        pass


@pytest.mark.parametrize("size", [(100_000, 100_000), (20_001, 5_000)])
def test_a_decompression_bomb_is_rejected_before_it_is_decoded(size):
    data = png_claiming_size(*size)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RecordError) as caught:
            read_image(data, LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    error = caught.value
    assert (error.rule, error.value) == ("image.pixels", size[0] * size[1])
    assert error.threshold == LIMITS.image_pixels
    assert peak < 1_000_000


def test_a_gif_frame_beyond_its_canvas_is_rejected():
    data = bytearray(picture("GIF"))
    frame = 13 + 3 * 256  # after the header and its palette
    assert data[frame] == ord(",")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert rule_of(read_image, bytes(data)) == "image.pixels"


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


@pytest.mark.parametrize("data", [SVG, b"%!PS-Adobe", b"RIFF\0\0\0\0WAVE", b"\0" * 99, b"{}"])
def test_other_formats_are_refused(data):
    assert rule_of(read_image, data) == "image.format"


def test_empty_and_too_large_images_are_refused():
    assert rule_of(read_image, b"") == "image.empty"
    with pytest.raises(RecordError) as caught:
        read_image(picture(), Limits(image_bytes=10))
    assert (caught.value.rule, caught.value.threshold) == ("image.bytes", 10)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(format, orientation):
    data = with_orientation(orientation, format, (40, 20))
    info = read_image(data, LIMITS)
    assert (info.width, info.height) == ((20, 40) if orientation >= 5 else (40, 20))
    assert load_rgb(data).size == (info.width, info.height)
    small = Image.open(io.BytesIO(thumbnail(data, 10)))
    assert small.size == ((5, 10) if orientation >= 5 else (10, 5))


def encode(image: Image.Image, format: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def test_transparent_images_get_a_white_background():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    palette = half.quantize(4)
    palette.info["transparency"] = 0
    assert load_rgb(encode(clear)).getpixel((0, 0)) == (255, 255, 255)
    assert load_rgb(encode(half)).getpixel((0, 0)) == (255, 127, 127)
    assert load_rgb(encode(palette)).getpixel((0, 0)) == (255, 255, 255)
    assert load_rgb(encode(Image.new("LA", (4, 4), (0, 0)))).getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_and_float_images_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    for data in (
        encode(Image.fromarray(ramp)),
        encode(Image.fromarray(ramp.astype(np.int32)), "TIFF"),
        encode(Image.fromarray(ramp.astype(np.float32) / 65535), "TIFF"),
    ):
        values = np.asarray(load_rgb(data))[..., 0].ravel()
        assert np.abs(values - np.linspace(0, 255, 64)).max() < 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_png_becomes_rgb(mode):
    assert load_rgb(encode(Image.new(mode, (5, 3)))).mode == "RGB"


def test_a_jpeg_may_be_decoded_at_a_smaller_size():
    data = picture("JPEG", (1600, 800))
    assert load_rgb(data).size == (1600, 800)
    assert load_rgb(data, side=200).size == (400, 200)
    assert load_rgb(picture("PNG", (1600, 800)), side=200).size == (1600, 800)


# Audio

SOUNDS = [
    ("WAV", {}),
    ("WAV", {"subtype": "FLOAT"}),
    ("RF64", {}),
    ("FLAC", {}),
    ("OGG", {"subtype": "VORBIS"}),
    ("OGG", {"subtype": "OPUS"}),
    ("MP3", {}),
]


@pytest.mark.parametrize(("format", "options"), SOUNDS)
def test_recordings_are_described_and_every_truncation_is_detected(format, options):
    data = tone(format, 0.5, 48000, 2, **options)
    name = "wav" if format == "RF64" else format.lower()
    assert read_audio(data, LIMITS) == AudioInfo(name, 0.5, 48000, 2)
    for cut in range(1, len(data), max(1, len(data) // 40)):
        rule = rule_of(read_audio, data[:cut])
        assert rule in ("audio.truncated", "audio.broken", "audio.empty", "audio.format")


@settings(max_examples=60)
@given(st.sampled_from(SOUNDS), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255))))
def test_damaged_recordings_raise_only_record_errors(kind, damage):
    data = bytearray(tone(kind[0], 0.05, 8000, **kind[1]))
    for position, value in damage:
        data[int(position * len(data))] = value
    try:
        info = read_audio(bytes(data), Limits(audio_seconds=100))
    except RecordError:
        return
    assert 0 < info.seconds <= 100


def test_recordings_without_content_are_refused():
    assert rule_of(read_audio, b"") == "audio.empty"
    assert rule_of(read_audio, tone(seconds=0)) == "audio.empty"
    assert rule_of(read_audio, b"not a sound at all") == "audio.format"
    data = bytearray(tone())
    data[24:28] = b"\0\0\0\0"
    assert rule_of(read_audio, bytes(data)) == "audio.broken"


def test_a_too_long_recording_is_rejected():
    with pytest.raises(RecordError) as caught:
        read_audio(tone(seconds=2), Limits(audio_seconds=1))
    error = caught.value
    assert (error.rule, error.value, error.threshold) == ("audio.seconds", 2.0, 1.0)


def test_audio_samples_that_are_not_finite_are_refused():
    data = bytearray(tone(subtype="FLOAT"))
    data[-4:] = np.float32(np.nan).tobytes()
    assert rule_of(read_audio, bytes(data)) == "audio.not_finite"


def test_a_wav_without_a_length_in_its_header_is_read():
    data = bytearray(tone())
    chunk = data.index(b"data")
    data[chunk + 4 : chunk + 8] = b"\xff\xff\xff\xff"
    assert read_audio(bytes(data), LIMITS).seconds == 0.25


# Text and JSON


@given(st.text(min_size=1))
def test_a_valid_text_is_unchanged(text):
    data = text.encode("utf-8", "ignore")
    if "\0" in text:
        assert rule_of(read_text, data) == "text.nul"
        return
    expected = data.decode().removeprefix("\ufeff")
    assert read_text(data, LIMITS) == (expected if expected.strip() else None)


def test_blank_texts_are_none_and_invalid_texts_are_refused():
    assert read_text(b" \n\t", LIMITS) is None
    assert read_text(b"", LIMITS) is None
    assert read_text(b"\xef\xbb\xbf A cat.\n", LIMITS) == " A cat.\n"
    assert rule_of(read_text, b"x" * 11, Limits(text_bytes=10)) == "text.bytes"
    with pytest.raises(RecordError, match=r"byte 3: 0xe9"):
        read_text(b"caf\xe9", LIMITS)
    with pytest.raises(RecordError, match="UTF-16"):
        read_text("cat".encode("utf-16"), LIMITS)


def test_metadata_becomes_canonical_json_with_a_caption():
    data = '\ufeff{"b": 1.50, "a": ["ü", null], "text": "second", "caption": "first"}'.encode()
    canonical, caption = read_meta(data, LIMITS)
    assert canonical == '{"a":["ü",null],"b":1.5,"caption":"first","text":"second"}'
    assert caption == "first"
    assert read_meta(b'{"caption": 3, "text": "t"}', LIMITS)[1] == "t"
    assert read_meta(b'{"caption": " "}', LIMITS) == ('{"caption":" "}', None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1]",
        b"null",
        b"{",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=range(11),
)
def test_metadata_that_is_not_a_json_object_is_refused(data):
    assert rule_of(read_meta, data) == "meta.json"


def test_captions_in_json_and_their_json_obey_the_limits():
    assert rule_of(read_meta, json.dumps({"caption": "a\0b"}).encode()) == "text.nul"
    assert rule_of(read_meta, b'{"text": "long"}', Limits(text_bytes=3)) == "text.bytes"
    assert rule_of(read_meta, b"{}" + b" " * 10, Limits(meta_bytes=3)) == "meta.bytes"


@pytest.mark.parametrize("name", list(Limits.model_fields))
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_limits_must_be_positive(name, value):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})
