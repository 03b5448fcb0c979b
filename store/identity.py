"""Identity by content: 128-bit hashes as hex, for parts, samples and runs.

A part keeps its id in whatever order, shard or drop it arrives; a sample's id is the hash of its
parts' ids. The modality is mixed in, so that no text is ever the same part as some image.
"""

import hashlib
import json
import os
from binascii import Error, hexlify, unhexlify
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from store.errors import InvariantError

_BYTES = 16
PACKED = pa.binary(_BYTES)


def part_id(modality: str, content: bytes) -> str:
    """Hash of one part: image or audio bytes, or the text's UTF-8 bytes."""
    return hashlib.blake2b(content, digest_size=_BYTES, person=modality.encode()).hexdigest()


def sample_id(image_id: str | None, audio_id: str | None, text_id: str | None) -> str:
    """Hash of the ids of a sample's parts; an absent part counts as absent."""
    joined = "|".join(part or "-" for part in (image_id, audio_id, text_id))
    return hashlib.blake2b(joined.encode(), digest_size=_BYTES, person=b"sample").hexdigest()


def run_key(*facts: Any) -> str:
    """Hash of all that a stage's output depends on (JSON values, or pydantic models' dumps)."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(canonical.encode(), digest_size=_BYTES, person=b"run").hexdigest()


def unordered(rows: Iterable[str]) -> int:
    """A digest of a bag of strings that does not depend on their order (a sum mod 2^128).

    Digests of disjoint bags add up, so batches can be digested as they pass.
    """
    total = 0
    for row in rows:
        digest = hashlib.blake2b(row.encode(), digest_size=_BYTES, person=b"row").digest()
        total += int.from_bytes(digest, "big")
    return total % (1 << 128)


def pack(ids: pa.Array) -> pa.Array:
    """Ids as the 16 bytes that they are, which sort as the ids do.

    Raises InvariantError where one is not 32 hex characters.
    """
    _, offsets, characters = ids.buffers()
    ends = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    try:
        if ids.null_count or (np.diff(ends) != 2 * _BYTES).any():
            raise Error("other lengths")
        packed = unhexlify(memoryview(characters)[ends[0] : ends[-1]]) if len(ids) else b""
    except Error as error:
        raise InvariantError(f"ids are 32 hex characters, and not all are: {error}") from None
    buffers = [None, pa.py_buffer(packed)]
    return pa.FixedSizeBinaryArray.from_buffers(PACKED, len(ids), buffers)


def unpack(packed: pa.Array) -> pa.Array:
    """The ids of which these are the 16 bytes."""
    start = packed.offset * _BYTES
    held = memoryview(packed.buffers()[1])[start : start + len(packed) * _BYTES]
    ends = np.arange(len(packed) + 1, dtype=np.int32) * np.int32(2 * _BYTES)
    buffers = pa.py_buffer(ends), pa.py_buffer(hexlify(held))
    return pa.StringArray.from_buffers(len(packed), *buffers)


def words(packed: pa.Array, kind: str = ">u8") -> np.ndarray:
    """(n, words) of packed ids, a view, the most significant word first."""
    width = _BYTES // np.dtype(kind).itemsize
    if not len(packed):
        return np.zeros((0, width), kind)
    held = np.frombuffer(packed.buffers()[1], kind, width * len(packed), packed.offset * _BYTES)
    return held.reshape(-1, width)


def uniform(name: str, seed: int) -> float:
    """A number in [0, 1) by which rows are drawn: fixed by name and seed, whenever they arrive."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8, person=b"split").digest()
    return int.from_bytes(digest, "big") / 2**64


def content(path: Path) -> bytes:
    """A digest of a file's bytes, which are read once for as long as size and time stay.

    A file in the hub's cache is a link to one that is named by its digest: that is not read.
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
