"""Writes samples as WebDataset shards that have the same bytes on every machine and at any time."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SAMPLES_PER_SHARD = 100


@dataclass(frozen=True)
class Sample:
    """One sample: its key (without a dot in the base name) and its files by extension."""

    key: str
    files: dict[str, bytes]


def write_shards(samples: Iterable[Sample], folder: Path) -> int:
    """Write samples, in the order they come, to `shard-000000.tar` and so on. Returns how many."""
    count = 0
    shard: tarfile.TarFile | None = None
    try:
        for count, sample in enumerate(samples, 1):
            number, position = divmod(count - 1, SAMPLES_PER_SHARD)
            if position == 0:
                if shard:
                    shard.close()
                path = folder / f"shard-{number:06d}.tar"
                shard = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
            assert shard is not None
            for extension, data in sorted(sample.files.items()):
                # A new TarInfo has no owner and the time 0: the same bytes on every machine.
                member = tarfile.TarInfo(f"{sample.key}.{extension}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    finally:
        if shard:
            shard.close()
    return count
