"""Videos: frames with sound and captions, and files that want to do harm."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.samples.sample_row import sample_row
from pipelines.sources import drops
from pipelines.sources.drops import find_drops
from pipelines.sources.records import BadRecord, Record
from pipelines.sources.units import list_units
from pipelines.sources.videos.cues import Cue, parse, text_between
from store.config.limits import Limits
from store.config.sources import Videos
from store.errors import MissingPackageError, SourceError
from tests.helpers import videos
from tests.helpers.rubbish import bad_rules, good_keys, picture, read_items

RED, GREEN, BLUE = (210, 30, 40), (30, 200, 60), (20, 60, 220)
COLOURS = [RED, GREEN, BLUE]
EACH = Videos(every=1)


def read(folder: Path, options: Videos = EACH) -> list[Record | BadRecord]:
    (drop,) = find_drops("clips", str(folder), "source", videos=options).values()
    return [item for unit in list_units(drop) for item in read_items(unit)]


def write(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        stem, _, extension = name.rpartition("_")
        (folder / f"{stem}.{extension}").write_bytes(data)


def colour(record: Record) -> int:
    """Which of COLOURS a picture has."""
    assert record.image is not None
    median = np.median(np.asarray(Image.open(io.BytesIO(record.image))).reshape(-1, 3), axis=0)
    distances = [np.abs(median - expected).max() for expected in COLOURS]
    assert min(distances) < 30
    return int(np.argmin(distances))


@pytest.mark.parametrize(
    ("format", "extension", "codec"),
    [
        ("mp4", "mp4", "mpeg4"),
        ("mp4", "mov", "libx264"),
        ("matroska", "mkv", "mpeg4"),
        ("webm", "webm", "libvpx"),
        ("avi", "avi", "mpeg4"),
        ("mpegts", "mts", "mpeg4"),
    ],
)
def test_each_second_is_a_record_with_its_sound(tmp_path, format, extension, codec):
    data = videos.video([*COLOURS, *COLOURS], format, codec, tone=True)
    write(tmp_path, **{f"clip_{extension}": data})
    items = read(tmp_path)
    assert good_keys(items) == [f"clip.{extension}#t={second}.0" for second in range(6)]
    for second, item in enumerate(items):
        assert colour(item) == second % 3
        sound, rate = soundfile.read(io.BytesIO(item.audio))
        assert len(sound) / rate == pytest.approx(1, abs=0.11)
        middle = sound[len(sound) // 4 : -len(sound) // 4]
        peak = np.argmax(np.abs(np.fft.rfft(middle))) * rate / len(middle)
        assert peak == pytest.approx(400 * (second + 1), abs=10)
        own = {"video": f"clip.{extension}", "time": float(second), "seconds": 1.0}
        assert json.loads(item.meta) == own
        row = sample_row(item, Limits())
        assert row["image_format"] == "jpeg"
        assert row["audio_format"] == "flac"


def test_spans_and_sizes_are_options(tmp_path):
    write(tmp_path, clip_mp4=videos.video(COLOURS * 2, size=(160, 90), tone=True))
    items = read(tmp_path, Videos(every=2.5, longest_side=80, audio=False))
    assert good_keys(items) == ["clip.mp4#t=0.0", "clip.mp4#t=2.5", "clip.mp4#t=5.0"]
    assert [colour(item) for item in items] == [0, 2, 2]
    assert all(item.audio is None for item in items)
    assert all(Image.open(io.BytesIO(item.image)).size == (80, 45) for item in items)
    tenth = read(tmp_path, Videos(every=0.1, frames=7))
    assert good_keys(tenth) == [f"clip.mp4#t={t}" for t in (0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7)]
    assert bad_rules(tenth) == [("clip.mp4#t=0.8", "video.frames")]


SUBTITLES = """1
00:00:00,000 --> 00:00:00,900
A red
<i>square</i>

2
00:00:02,000 --> 00:01:00,000
{\\an8}A blue square
"""


def test_captions_are_subtitles_then_the_text_file_then_the_title(tmp_path):
    clip = videos.video(COLOURS, title="Three squares")
    write(tmp_path, sub_mp4=clip, sub_srt=SUBTITLES.encode(), sub_txt=b"Squares.")
    write(tmp_path, text_mp4=clip, text_txt=b"Squares.", title_mp4=clip)
    write(tmp_path, vtt_mp4=clip, vtt_vtt=b"WEBVTT\n\n00:01.000 --> 00:01.500 align:left\nGreen\n")
    write(tmp_path, meta_mp4=clip, meta_json=b'{"author": "A", "caption": "Of the metadata."}')
    items = read(tmp_path)
    rows = {row["key"]: row for row in (sample_row(item, Limits()) for item in items)}
    captions = {
        name: [rows[f"{name}.mp4#t={second}.0"]["text"] for second in range(3)]
        for name in ("sub", "text", "title", "vtt", "meta")
    }
    assert captions == {
        "sub": ["A red square", "Squares.", "A blue square"],
        "text": ["Squares."] * 3,
        "title": ["Three squares"] * 3,
        "vtt": ["Three squares", "Green", "Three squares"],
        "meta": ["Of the metadata."] * 3,
    }
    meta = json.loads(rows["meta.mp4#t=1.0"]["meta"])
    assert meta["author"] == "A"
    assert (meta["video"], meta["time"]) == ("meta.mp4", 1.0)
    assert len(items) == 15  # the files beside the videos are no records


def test_the_text_of_a_picture_with_the_name_of_a_video_stays_its_own(tmp_path):
    write(tmp_path, clip_mp4=videos.video([RED]), clip_png=picture(), clip_txt=b"A picture.")
    items = {item.key: item for item in read(tmp_path)}
    assert items["clip"].text == b"A picture."
    assert items["clip.mp4#t=0.0"].text is None


@pytest.mark.parametrize(
    ("extension", "content", "rule"),
    [
        ("srt", b"\xff\xfe1\n", "text.encoding"),
        ("json", b"[1]", "meta.json"),
        ("txt", b"a\0b", "text.nul"),
        ("txt", bytes(2 << 20), "text.bytes"),
    ],
)
def test_a_broken_file_beside_a_video_fails_its_frames(tmp_path, extension, content, rule):
    write(tmp_path, clip_mp4=videos.video([RED, BLUE]), **{f"clip_{extension}": content})
    rules = []
    for item in read(tmp_path):
        try:
            if isinstance(item, BadRecord):
                raise item.error
            sample_row(item, Limits())
        except Exception as error:
            rules.append(error.rule)
    assert rules == [rule] * 2


SOUND = videos.video(COLOURS, tone=True)
LONG = videos.video(COLOURS * 4, movflags="faststart")
RAW = videos.video(COLOURS, "avi", "rawvideo", size=(64, 48))
MATROSKA = videos.video(COLOURS, "matroska")
JPEGS = videos.video(COLOURS, "avi", "mjpeg")
_DURATION = b"\x44\x89\x88"


def huge_frames() -> bytes:
    """An AVI whose header has frames of 200 million pixels."""
    at = RAW.index(b"strf") + 12
    return RAW[:at] + struct.pack("<ii", 20_000, 10_000) + RAW[at + 8 :]


def growing_frames() -> bytes:
    """An AVI with JPEGs that claim 60,000 pixels on each side, from the second on."""
    size = struct.pack(">HH", 48, 64)
    head, *rest = JPEGS.split(b"\xff\xc0\x00\x11\x08" + size)
    marker = b"\xff\xc0\x00\x11\x08"
    return head + marker + size + (marker + struct.pack(">HH", 60_000, 60_000)).join(rest)


def endless() -> bytes:
    """A Matroska file of three seconds whose header claims 30 years."""
    at = MATROSKA.index(_DURATION) + len(_DURATION)
    return MATROSKA[:at] + struct.pack(">d", 1e12) + MATROSKA[at + 8 :]


HOSTILE = {
    "concat_mp4": (b"ffconcat version 1.0\nfile sound.mp4\n", "", "video.broken"),
    "endless_mkv": (endless(), "#t=3.0", "video.truncated"),
    "huge_avi": (huge_frames(), "", "video.pixels"),
    "noframes_mp4": (videos.sound_only(), "", "video.no_frames"),
    "nothing_mp4": (b"", "", "video.empty"),
    "picture_mp4": (picture(), "", "video.broken"),
    "playlist_mkv": (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "", "video.broken"),
    "text_webm": (b"no video " * 1000, "", "video.broken"),
    "truncated_mp4": (LONG[: len(LONG) // 2], "#t=", "video.truncated"),
    "unindexed_mp4": (SOUND[:-400], "", "video.broken"),
}


def test_hostile_videos_end_in_the_ledger_and_cost_no_other(tmp_path):
    write(tmp_path, **{name: data for name, (data, _, _) in HOSTILE.items()}, sound_mp4=SOUND)
    items = read(tmp_path)
    bad = dict(bad_rules(items))
    for name, (_, place, rule) in HOSTILE.items():
        start = f"{name.replace('_', '.')}{place}"
        (key,) = [key for key in bad if key.startswith(start)]
        assert bad.pop(key) == rule, name
    assert bad == {}
    good = good_keys(items)
    assert [key for key in good if key.startswith("sound")] == [
        f"sound.mp4#t={second}.0" for second in range(3)
    ]
    assert "endless.mkv#t=2.0" in good
    assert "truncated.mp4#t=0.0" in good


def test_frames_that_grow_are_not_decoded(tmp_path):
    write(tmp_path, growing_avi=growing_frames())
    items = read(tmp_path)
    assert good_keys(items) == ["growing.avi#t=0.0"]
    expected = [("growing.avi#t=1.0", "video.frame"), ("growing.avi#t=2.0", "video.frame")]
    assert bad_rules(items) == expected


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from([SOUND, MATROSKA, JPEGS]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=200),
)
def test_a_video_with_any_damage_is_counted_and_read_alike(tmp_path_factory, data, place, damage):
    folder, start = tmp_path_factory.mktemp("damaged"), int(place * len(data))
    write(folder, damaged_mkv=data[:start] + damage + data[start + len(damage) :])
    items = read(folder)  # `read_items` compares with the count
    assert items
    assert not [rule for _, rule in bad_rules(items) if rule.endswith("unexpected")]


def test_a_video_that_is_too_large_is_not_opened(tmp_path):
    write(tmp_path, clip_mp4=SOUND)
    (item,) = read(tmp_path, Videos(bytes=100))
    assert (item.error.rule, item.error.value) == ("video.bytes", len(SOUND))


def test_videos_are_not_read_unless_the_source_says_so(tmp_path, monkeypatch):
    write(tmp_path, clip_mp4=SOUND)
    with pytest.raises(SourceError, match="no data"):
        find_drops("clips", str(tmp_path), "source")
    monkeypatch.setattr(drops, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'isotrope\[video-gpl\]'"):
        read(tmp_path)


@given(st.text(max_size=400))
def test_any_text_is_parsed_to_cues_with_times_and_words(text):
    for cue in parse(text):
        assert cue.text
        assert cue.start >= 0 <= cue.end


TIMES = st.integers(0, 3_599_999)


@given(st.lists(st.tuples(TIMES, TIMES, st.text("abc xyz", min_size=1).filter(str.strip))))
def test_written_cues_are_read_as_they_are(cues):
    def time(ms: int) -> str:
        return f"{ms // 60000:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"

    blocks = [
        f"{number}\n00:{time(start)} --> 00:{time(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(cues, start=1)
    ]
    expected = [(start / 1000, end / 1000, text.strip()) for start, end, text in cues]
    found = parse("\n".join(blocks))
    assert [c.text for c in found] == [text for _, _, text in expected]
    np.testing.assert_allclose([c[:2] for c in found], [e[:2] for e in expected], atol=1e-9)


def test_only_what_is_shown_in_a_span_is_its_caption():
    cues = [Cue(0, 2, "one"), Cue(2, 4, "two"), Cue(3, 5, "two"), Cue(3, 9, "three")]
    assert text_between(cues, 0, 2) == "one"
    assert text_between(cues, 2, 4) == "two three"
    assert text_between(cues, 9, 10) == ""
