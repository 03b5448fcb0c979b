"""Identity by content: 128-bit hashes in hexadecimal, for parts, samples and runs.

The id of a part depends on its content and modality only, not on the drop, shard or order in which
it is delivered. The id of a sample is the hash of the ids of its parts.
"""

import hashlib
import json
import os
import re
from binascii import Error, hexlify, unhexlify
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from store.errors import InputError, InvariantError

_BYTES = 16
ID_PATTERN = "^[0-9a-f]{32}$"
PACKED = pa.binary(_BYTES)


def part_id(modality: str, content: bytes) -> str:
    """The id of a part.

    Args:
        modality: image, text or audio. It is hashed too, so a text and an image with the same bytes
            have different ids.
        content: the bytes of the image or audio file, or of the text in UTF-8.
    """
    return hashlib.blake2b(content, digest_size=_BYTES, person=modality.encode()).hexdigest()


def sample_id(image_id: str | None, audio_id: str | None, text_id: str | None) -> str:
    """The id of a sample with these parts. A sample may lack some of the parts."""
    joined = "|".join(part or "-" for part in (image_id, audio_id, text_id))
    return hashlib.blake2b(joined.encode(), digest_size=_BYTES, person=b"sample").hexdigest()


def check_id(value: str) -> str:
    """Return an id of a part or a sample unchanged. Raises InputError if it is none."""
    if not re.fullmatch(ID_PATTERN, value):
        raise InputError(f"{value[:80]!r} is not an id: 32 digits from 0 to f are expected")
    return value


def run_key(*facts: Any) -> str:
    """Hash of everything that a stage's output depends on, as JSON values."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(canonical.encode(), digest_size=_BYTES, person=b"run").hexdigest()


def unordered_digest(rows: Iterable[str]) -> int:
    """A digest of a multiset of strings, independent of their order: the sum of their hashes
    modulo 2^128.

    Digests of batches can be added, so rows can be digested while they are streamed.
    """
    total = 0
    for row in rows:
        digest = hashlib.blake2b(row.encode(), digest_size=_BYTES, person=b"row").digest()
        total += int.from_bytes(digest, "big")
    return total % (1 << 128)


def pack_ids(ids: pa.Array) -> pa.Array:
    """Convert ids from hexadecimal to 16 bytes each. Both sort in the same order.

    Args:
        ids: a string array.

    Returns:
        An array of type `PACKED`.

    Raises:
        InvariantError: an id does not have 32 hexadecimal characters.
    """
    _, offsets, characters = ids.buffers()
    ends = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    try:
        if ids.null_count or (np.diff(ends) != 2 * _BYTES).any():
            raise Error("wrong length")
        packed = unhexlify(memoryview(characters)[ends[0] : ends[-1]]) if len(ids) else b""
    except Error as error:
        raise InvariantError(f"an id does not have 32 hex characters: {error}") from None
    buffers = [None, pa.py_buffer(packed)]
    return pa.FixedSizeBinaryArray.from_buffers(PACKED, len(ids), buffers)


def unpack_ids(packed: pa.Array) -> pa.Array:
    """Convert ids from 16 bytes to hexadecimal strings; the inverse of `pack_ids`."""
    start = packed.offset * _BYTES
    data = memoryview(packed.buffers()[1])[start : start + len(packed) * _BYTES]
    ends = np.arange(len(packed) + 1, dtype=np.int32) * np.int32(2 * _BYTES)
    buffers = pa.py_buffer(ends), pa.py_buffer(hexlify(data))
    return pa.StringArray.from_buffers(len(packed), *buffers)


def id_words(packed: pa.Array, dtype: str = ">u8") -> np.ndarray:
    """View packed ids as integers, (n, words), the most significant word first.

    Args:
        packed: an array of type `PACKED`.
        dtype: of a word.
    """
    width = _BYTES // np.dtype(dtype).itemsize
    if not len(packed):
        return np.zeros((0, width), dtype)
    data = np.frombuffer(packed.buffers()[1], dtype, width * len(packed), packed.offset * _BYTES)
    return data.reshape(-1, width)


def uniform_number(name: str, seed: int) -> float:
    """A pseudo-random number in [0, 1) for drawing rows. It depends on name and seed only, so a row
    is drawn or not regardless of when it arrives."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8, person=b"split").digest()
    return int.from_bytes(digest, "big") / 2**64


def file_digest(path: Path) -> bytes:
    """A digest of a file's bytes. The file is read again only if its size or time changes.

    Files in the cache of the Hugging Face Hub are links to files that are named by their SHA-256.
    That digest is returned without reading the file.
    """
    target = Path(os.path.realpath(path))
    if target != path and target.parent.name == "blobs" and len(target.name) == 64:
        return bytes.fromhex(target.name)
    stat = target.stat()
    return _digest(target, stat.st_size, stat.st_mtime_ns)


@cache
def _digest(path: Path, size: int, changed_ns: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
