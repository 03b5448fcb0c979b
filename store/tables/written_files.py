"""Checks that files are whole before they are committed.

Lance 14 loses the error of the last write to a local file: on a full disk it commits files that are
cut, without an error. Object stores take an object whole or not at all.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

from lance import FragmentMetadata
from lance.fragment import DeletionFile

from store.errors import StoreError

_ARROW_END = b"ARROW1"
_NO_RUNS = 12346  # the cookie of a Roaring bitmap without run containers
_MOST_SPARSE = 4096  # values of a container that are listed; more are bits


def check_written(uri: str, fragments: Iterable[FragmentMetadata]) -> None:
    """Check the files of new fragments of a table.

    Args:
        uri: of the table.
        fragments: not committed yet.

    Raises:
        StoreError: a file is shorter than it was written.
    """
    if "://" in uri:
        return
    for fragment in fragments:
        for file in fragment.files:
            path = Path(uri, "data", file.path)
            # A clone refers to files of other tables.
            if file.base_id is None and file.file_size_bytes is not None:
                _check(path, path.stat().st_size == file.file_size_bytes)
        deletions = fragment.deletion_file
        if deletions is not None and deletions.base_id is None:
            path = Path(uri, deletions.path(fragment.id))
            _check(path, _is_whole(path.read_bytes(), deletions))


def _check(path: Path, is_whole: bool) -> None:
    if not is_whole:
        raise StoreError(
            f"{path} was cut while it was written: is the disk full? Nothing was committed"
        )


def _is_whole(data: bytes, deletions: DeletionFile) -> bool:
    if deletions.file_type == "array":
        return data.endswith(_ARROW_END)
    return len(data) == bitmap_size(data)


def bitmap_size(data: bytes) -> int | None:
    """The bytes that a Roaring bitmap has, from its header. None: the header is cut, or unknown.

    Portable format (https://github.com/RoaringBitmap/RoaringFormatSpec): the cookie, the number of
    containers, a key and a cardinality less 1 for each, an offset for each, the containers.
    """
    try:
        cookie, count = struct.unpack_from("<II", data)
        header = struct.unpack_from(f"<{2 * count}H", data, 8)
    except struct.error:
        return None
    if cookie != _NO_RUNS:
        return None
    containers = (2 * (less + 1) if less < _MOST_SPARSE else 8192 for less in header[1::2])
    return 8 + 8 * count + sum(containers)
