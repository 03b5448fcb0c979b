"""Makes hostile and broken input, and checks that reading it loses no record."""

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from pipelines.sources.drops import find_drops
from pipelines.sources.read import count_records, read_unit
from pipelines.sources.records import BadRecord, Record, Unit
from pipelines.sources.units import list_units
from store.config.limits import Limits


def picture(
    format: str = "PNG", size: tuple[int, int] = (24, 16), seed: int = 0, **options
) -> bytes:
    """An encoded image of random colours in 6 x 4 blocks."""
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(out, format, **options)
    return out.getvalue()


def tone(
    format: str = "WAV", seconds: float = 0.25, rate: int = 8000, channels: int = 1, **options
):
    """An encoded recording of a sine of 440 Hz."""
    wave = np.sin(np.arange(int(seconds * rate)) * (2 * np.pi * 440 / rate)) * 0.5
    out = io.BytesIO()
    soundfile.write(out, np.repeat(wave[:, None], channels, 1), rate, format=format, **options)
    return out.getvalue()


def png_claiming_size(width: int, height: int) -> bytes:
    """A small PNG whose header claims a size that would fill the memory if it were decoded."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def with_orientation(orientation: int, format: str = "JPEG", size=(24, 16)) -> bytes:
    """An encoded image with an EXIF orientation (1 to 8)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture(format, size, exif=exif)


def tar_bytes(members: Iterable[tuple[str | tarfile.TarInfo, bytes]], **options) -> bytes:
    """A tar of members (name or TarInfo, data), written by the standard library."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **options) as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if not isinstance(name, tarfile.TarInfo) or name.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def special_member(
    name: str, type: bytes, target: str = "/etc/passwd"
) -> tuple[tarfile.TarInfo, bytes]:
    """A tar member that is a link, a device or a pipe."""
    info = tarfile.TarInfo(name)
    info.type = type
    info.linkname = target
    return info, b""


def tar_header(name: bytes, size: int | bytes, type: bytes = b"0") -> bytes:
    """One tar header with a correct checksum and any content."""
    digits = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(512)
    block[: len(name)] = name
    block[100:124] = b"0000644\x000000000\x000000000\0"
    block[124:136] = digits
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = type
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    """Data padded with zeros to a multiple of the tar block size, 512 bytes."""
    return data + b"\0" * (-len(data) % 512)


def add_to_tar(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add one file to an open tar."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


TAR_END = b"\0" * 1024


def shard(folder: Path, data: bytes, name: str = "shard.tar") -> Unit:
    """Write bytes as a shard. Returns its unit."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Unit("drop", name, "webdataset", str(folder), (name,))


def gzipped(data: bytes) -> bytes:
    """Data compressed with gzip, the same bytes each time."""
    return gzip.compress(data, 1, mtime=0)


LIMITS = Limits()


def read_items(unit, limits=LIMITS):
    """Read all items of a unit, and check their number and their names."""
    items = list(read_unit(unit, limits))
    assert count_records(unit) == len(items)
    for item in items:
        for name in (item.source, item.key):
            assert name.isprintable()
            assert len(name.encode()) <= 4 * 512
    return items


def good_keys(items):
    """The keys of the good records."""
    return [item.key for item in items if isinstance(item, Record)]


def bad_rules(items):
    """Key and rule of the bad records."""
    return [(item.key, item.error.rule) for item in items if isinstance(item, BadRecord)]


def read_folder(folder, limits=LIMITS, columns=None):
    """Read all items of a folder as one drop, with the checks of `read_items`."""
    (drop,) = find_drops("source", str(folder), "source", columns).values()
    units = list_units(drop)
    assert len({u.name for u in units}) == len(units)
    return [item for unit in units for item in read_items(unit, limits)]
