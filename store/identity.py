"""Identity by content: 128-bit hashes as hex, for parts, samples and runs.

A part keeps its id in whatever order, shard or drop it arrives; a sample's id is the hash of its
parts' ids. The modality is mixed in, so that no text is ever the same part as some image.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

_BYTES = 16


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
