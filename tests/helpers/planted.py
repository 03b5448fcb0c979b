"""Drops with broken and hostile records of every kind, each with the rule that must catch it."""

import io
import json
import struct
import tarfile
import zlib
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.helpers import pdfs, videos
from tests.helpers.rubbish import (
    TAR_END,
    padded,
    picture,
    png_claiming_size,
    special_member,
    tar_bytes,
    tar_header,
    tone,
)

# An XML parser that resolves external entities would read a file for it.
SVG = b"""<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>"""
LONG_BYTES = 100_000_000


def png_with(name: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk before its pixels."""
    plain = picture("PNG")
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return plain[:33] + chunk + plain[33:]


def wav_with(offset: int, value: int, size: int) -> bytes:
    """A WAV with another number of `size` bytes at this offset of its header."""
    data = bytearray(tone())
    data[offset : offset + size] = value.to_bytes(size, "little")
    return bytes(data)


def gif_of(frames: int) -> bytes:
    """A GIF with this many frames of one pixel each."""
    out = io.BytesIO()
    Image.new("P", (1, 1)).save(out, "GIF")
    data = out.getvalue()
    frame = data[data.index(b",") : -1]
    return data[: data.index(b",")] + frame * frames + b";"


_DEFLATED = zlib.compress(bytes(50 << 20), 9)

MEDIA: dict[str, tuple[str, bytes, str]] = {
    # kind: (extension, content, start of the expected rule)
    "bomb-pixels": ("png", png_claiming_size(100_000, 100_000), "image.pixels"),
    "bomb-ztxt": ("png", png_with(b"zTXt", b"Comment\0\0" + _DEFLATED), "image."),
    "bomb-iccp": ("png", png_with(b"iCCP", b"profile\0\0" + _DEFLATED), "image."),
    "svg-as-png": ("png", SVG, "image.format"),
    "zero-image": ("jpg", b"", "image.empty"),
    "html-as-jpg": ("jpg", b"<html>404</html>", "image.format"),
    **{
        f"cut-{format.lower()}": (extension, picture(format, (60, 40))[:-40], "image.")
        for format, extension in (
            ("PNG", "png"),
            ("JPEG", "jpg"),
            ("WEBP", "webp"),
            ("GIF", "gif"),
            ("BMP", "bmp"),
            ("TIFF", "tif"),
        )
    },
    "zero-audio": ("wav", b"", "audio.empty"),
    "no-frames": ("wav", tone(seconds=0), "audio.empty"),
    "rate-zero": ("wav", wav_with(24, 0, 4), "audio."),
    "channels-zero": ("wav", wav_with(22, 0, 2), "audio."),
    "length-absurd": ("wav", wav_with(40, 0x7FFFFFFF, 4), "audio.truncated"),
    "picture-as-wav": ("wav", picture("JPEG"), "audio.format"),
    **{
        f"cut-{format.lower()}": (format.lower(), tone(format, 0.5, 48000)[:-200], "audio.")
        for format in ("WAV", "FLAC", "OGG", "MP3")
    },
}
TEXTS: dict[str, tuple[bytes, str]] = {
    "no-utf8": (b"caf\xe9", "text.encoding"),
    "utf-16": ("A cat.".encode("utf-16"), "text.encoding"),
    "nul": (b"A\0cat", "text.nul"),
    "long": (b"x" * 3_000_000, "text.bytes"),
    "blank": (b" \n ", "record.empty"),
}
METAS: dict[str, bytes] = {
    "deep": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "twice": b'{"caption": "one", "caption": "two"}',
    "list": b"[1]",
    "cut": b'{"a": ',
    "surrogate": b'{"a": "\\ud800"}',
    "huge-number": b'{"a": ' + b"9" * 5000 + b"}",
}
FIRST_SEED = 10_000  # of the images of honest samples


def honest(kind: str, count: int) -> list[dict]:
    """Valid samples with distinct content."""
    rows = []
    for n in range(count):
        row = {"key": f"{kind}-honest-{n:04d}", "caption": f"An honest {kind} number {n}."}
        if n % 3 == 0:
            seed = FIRST_SEED + n + 1000 * len(kind) + sum(kind.encode())
            row["image"] = picture(("PNG", "JPEG")[n % 2], (40, 40), seed=seed)
        rows.append(row)
    return rows


def plant_folder(folder: Path, count: int) -> dict[str, str]:
    """Write a drop of loose files. Returns the expected rule by key, as the other functions do."""
    expected = {}
    folder.mkdir(parents=True)
    for row in honest("file", count):
        (folder / f"{row['key']}.txt").write_text(row["caption"])
        if "image" in row:
            (folder / f"{row['key']}.jpg").write_bytes(row["image"])  # a PNG may be called .jpg
    for kind, (extension, data, rule) in MEDIA.items():
        (folder / f"file-{kind}.{extension}").write_bytes(data)
        expected[f"file-{kind}"] = rule
    for kind, (data, rule) in TEXTS.items():
        (folder / f"file-{kind}.txt").write_bytes(data)
        expected[f"file-{kind}"] = rule
    for kind, data in METAS.items():
        (folder / f"file-{kind}.json").write_bytes(data)
        (folder / f"file-{kind}.txt").write_bytes(kind.encode())
        expected[f"file-{kind}"] = "meta.json"
    with (folder / "file-endless.txt").open("wb") as file:
        file.truncate(LONG_BYTES)
    (folder / "file-drawing.svg").write_bytes(SVG)
    (folder / "file-link.png").symlink_to("/etc/passwd")
    return expected | {
        "file-endless": "text.bytes",
        "file-drawing": "record.empty",
        "file-link": "file.outside",
    }


def plant_tar(path: Path, count: int) -> dict[str, str]:
    """Write a shard. The damage is at its end, since nothing after a truncation can be read."""
    expected, members = {}, []
    rows = honest("tar", count)
    for n, row in enumerate(rows):
        members.append((f"{row['key']}.txt", row["caption"].encode()))
        members += [(f"{row['key']}.png", row["image"])] if "image" in row else []
        if n < len(MEDIA):
            kind, (extension, data, rule) = list(MEDIA.items())[n]
            members.append((f"tar-{kind}.{extension}", data))
            expected[f"tar-{kind}"] = rule
    types = {
        "symlink": tarfile.SYMTYPE,
        "hardlink": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE,
        "pipe": tarfile.FIFOTYPE,
        "sparse": tarfile.GNUTYPE_SPARSE,
    }
    for kind, type in types.items():
        members.append(special_member(f"tar-{kind}.png", type))
        expected[f"tar-{kind}"] = "tar.not_a_file"
    for name in ("../../tar-up.png", "/tar-absolute.png"):
        members.append((name, picture()))
        expected[name.removesuffix(".png")] = "tar.outside"
    data = tar_bytes(members)
    data = data[: len(data) - len(data) % 512].rstrip(b"\0")
    data += b"\0" * (-len(data) % 512)
    damage_start = len(data)
    data += b"\xaa" * 512 + tar_header(b"tar-after.txt", 5) + padded(b"after")
    data += tar_header(b"tar-liar.png", b"77777777777\0") + padded(picture()) + TAR_END
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return expected | {f"byte-{damage_start}": "tar.corrupt", "tar-liar": "tar.truncated"}


def plant_table(path: Path, count: int, kind: str) -> dict[str, str]:
    """Write a Parquet file or a Lance dataset, with media in columns of bytes."""
    expected, rows = {}, []
    for row in honest(kind, count):
        rows.append(row | {"similarity": float("nan")})
    for name, (extension, data, rule) in MEDIA.items():
        column = "audio" if extension in ("wav", "flac", "ogg", "mp3") else "image"
        rows.append({"key": f"{kind}-{name}", column: data})
        expected[f"{kind}-{name}"] = rule
    for name, (data, rule) in TEXTS.items():
        rows.append({"key": f"{kind}-{name}", "text": data})
        expected[f"{kind}-{name}"] = rule
    others = {
        "up": ({"path": "../../etc/passwd"}, "file.outside"),
        "absolute": ({"path": "/etc/passwd"}, "file.outside"),
        "gone": ({"path": "gone.png"}, "file.unreadable"),
        "web": ({"url": "https://example.org/a.png"}, "fetch.missing"),
        "failed": ({"status": "failed_to_download", "error_message": "HTTP 404"}, "fetch.failed"),
        "empty": ({"similarity": 1.0}, "record.empty"),
        "meta": ({"caption": kind, "note": "x" * 2_000_000}, "meta.bytes"),
    }
    for name, (row, rule) in others.items():
        rows.append({"key": f"{kind}-{name}", **row})
        expected[f"{kind}-{name}"] = rule
    names = list(dict.fromkeys(n for row in rows for n in row))
    table = pa.table({n: [row.get(n) for row in rows] for n in names})
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "lance":
        lance.write_dataset(table, str(path), max_rows_per_file=300)
    else:
        pq.write_table(table, path, row_group_size=200)
    return expected


def plant_lines(folder: Path, count: int) -> dict[str, str]:
    """Write a JSONL manifest and the media files that it names."""
    expected = {}
    (folder / "media").mkdir(parents=True)
    lines = []
    for row in honest("line", count):
        line = {"key": row["key"], "caption": row["caption"]}
        if "image" in row:
            (folder / "media" / f"{row['key']}.png").write_bytes(row["image"])
            line["path"] = f"media/{row['key']}.png"
        lines.append(json.dumps(line).encode())
    for kind, (extension, data, rule) in MEDIA.items():
        (folder / "media" / f"{kind}.{extension}").write_bytes(data)
        lines.append(
            json.dumps({"key": f"line-{kind}", "path": f"media/{kind}.{extension}"}).encode()
        )
        expected[f"line-{kind}"] = rule
    broken = {
        **dict.fromkeys(METAS.values(), "jsonl.invalid"),
        b'{"text": "caf\xe9"}': "jsonl.invalid",
        b'{"text": "' + b"x" * LONG_BYTES + b'"}': "jsonl.bytes",
        b'{"key": null}': "record.empty",
        b'{"path": "../lines.png"}': "file.outside",
    }
    position = sum(len(line) + 1 for line in lines)
    for line, rule in broken.items():
        rule = "record.empty" if line == METAS["surrogate"] else rule
        expected[f"byte-{position}"] = rule
        lines.append(line)
        position += len(line) + 1
    (folder / "m.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return expected


def plant_media(folder: Path) -> dict[str, str]:
    """Documents and videos, of which three pages and two frames are sound.

    Returns:
        The rule that must catch each other record, by key.
    """
    sound = videos.video([(200, 30, 30)] * 2 + [(30, 30, 200)] * 2)
    page = [pdfs.Words(72, 700, "An honest page")]
    files = {
        "honest.pdf": pdfs.document([page, [*page, pdfs.Words(72, 600, "And another one")]]),
        "honest.mp4": sound,
        "locked.pdf": pdfs.encrypted(),
        "empty.pdf": b"",
        "html.pdf": b"<html>404</html>",
        "honest-claims.pdf": pdfs.claimed_pages(9_000),
        "cut.mp4": sound[:-400],
        "empty.mp4": b"",
        "html.webm": b"<html>404</html>",
        "sound.mp4": videos.sound_only(),
    }
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {
        "locked.pdf": "pdf.encrypted",
        "empty.pdf": "pdf.empty",
        "html.pdf": "pdf.broken",
        "honest-claims.pdf#page=2-20": "pdf.page",
        "honest-claims.pdf#page=21-9000": "pdf.pages",
        "cut.mp4": "video.broken",
        "empty.mp4": "video.empty",
        "html.webm": "video.broken",
        "sound.mp4": "video.no_frames",
    }
