"""Originals of samples in batches of bounded size: bytes, captions, metadata and facts."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from store.errors import InputError, NotFoundError
from store.identity import check_id
from store.search.opened import OpenRelease
from store.search.release_items import deleted_sample, unknown_samples
from store.tables.columns import with_nulls
from store.tables.damage import detected
from store.tables.lance_tables import one_of
from store.tables.schema import SAMPLES
from store.tables.table_version import take_rows

MEDIA = ("image", "audio")
_BATCH_ROWS, _BATCH_BYTES = 256, 32 << 20
_IDS = 10_000  # that are looked up in one scan


def checked_ids(ids: Sequence[str]) -> list[str]:
    """Check ids of samples. Ids that repeat are kept once.

    Raises:
        InputError: it is a single string, or one of them is no id.
    """
    if isinstance(ids, str | bytes):
        raise InputError("samples() takes a list of ids of samples")
    if not all(isinstance(each, str) for each in ids):
        raise InputError("samples() takes ids, which are strings")
    return list(dict.fromkeys(map(check_id, ids)))


def read_samples(opened: OpenRelease, ids: Sequence[str]) -> Iterator[pa.Table]:
    """Read samples of a release, in the order of `ids`, all from one version of the samples.

    Args:
        opened: the release.
        ids: of samples.

    Returns:
        Tables with the columns of `store.tables.schema.SAMPLES`, of at most 256 rows. Their media
        have at most 32 MB, or the table has one row.

    Raises:
        InputError: one of them is no id.
        NotFoundError: the release has no sample with an id. This is checked before the first batch.
    """
    wanted = checked_ids(ids)
    for chunk in _chunks(wanted):
        if unknown := unknown_samples(opened, chunk):
            more = f" and {len(unknown) - 1} other ids" if len(unknown) > 1 else ""
            number = opened.release.number
            raise NotFoundError(f"release {number} has no sample {unknown[0]}{more}")
    return _batches(opened, wanted)


def _batches(opened: OpenRelease, ids: Sequence[str]) -> Iterator[pa.Table]:
    samples = opened.tables.open("samples")
    present = [name for name in SAMPLES.names if name in samples.schema.names]
    sizes = [f"{modality}_bytes" for modality in MEDIA]
    for chunk in _chunks(ids):
        with detected(samples.uri, samples.version):
            rows = samples.to_table(
                columns=["id", *sizes], filter=one_of("id", chunk), with_row_id=True
            )
        located: dict[str, dict[str, Any]] = {}
        for row in rows.to_pylist():
            located.setdefault(row["id"], row)  # two drops may have a sample
        batch: list[int] = []
        total = 0
        for each in chunk:
            if each not in located:
                raise deleted_sample(each)
            size = sum(located[each][name] or 0 for name in sizes)
            if batch and (len(batch) >= _BATCH_ROWS or total + size > _BATCH_BYTES):
                yield with_nulls(take_rows(samples, batch, present), SAMPLES, SAMPLES.names)
                batch, total = [], 0
            batch.append(located[each]["_rowid"])
            total += size
        if batch:
            yield with_nulls(take_rows(samples, batch, present), SAMPLES, SAMPLES.names)


def media_path(facts: Mapping[str, Any], modality: str) -> str | None:
    """The path of a sample's image or recording on a server. None if it has none."""
    has_it = facts[f"{modality}_bytes"] is not None
    return f"/samples/{check_id(facts['id'])}/{modality}" if has_it else None


class Batcher:
    """Gathers samples that arrive one by one into tables, as `read_samples` cuts them."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any]) -> pa.Table | None:
        """Add a sample. Returns the samples before it, if they fill a table."""
        size = sum(len(row[modality] or b"") for modality in MEDIA)
        is_full = len(self._rows) >= _BATCH_ROWS or self._bytes + size > _BATCH_BYTES
        full = self.rest() if self._rows and is_full else None
        self._rows.append(row)
        self._bytes += size
        return full

    def rest(self) -> pa.Table | None:
        """The last samples, if there are any."""
        rows, self._rows, self._bytes = self._rows, [], 0
        return pa.Table.from_pylist(rows, schema=SAMPLES) if rows else None


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(ids)
    while chunk := list(islice(remaining, _IDS)):
        yield chunk
