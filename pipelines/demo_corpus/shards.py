"""Samples to WebDataset shards that have the same bytes on every machine and day."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SAMPLES_PER_SHARD = 100


@dataclass(frozen=True)
class Sample:
    """One sample: its key (no dot in the last part) and its files by extension."""

    key: str
    files: dict[str, bytes]


def write_shards(samples: Iterable[Sample], folder: Path) -> int:
    """Writes samples, in the order they come, to `shard-000000.tar` and on; returns how many."""
    count = 0
    shard: tarfile.TarFile | None = None
    try:
        for count, sample in enumerate(samples, 1):
            number, place = divmod(count - 1, SAMPLES_PER_SHARD)
            if place == 0:
                if shard:
                    shard.close()
                path = folder / f"shard-{number:06d}.tar"
                shard = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
            assert shard is not None
            for extension, data in sorted(sample.files.items()):
                # A fresh TarInfo has no owner and a time of zero: nothing of this machine.
                member = tarfile.TarInfo(f"{sample.key}.{extension}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    finally:
        if shard:
            shard.close()
    return count
