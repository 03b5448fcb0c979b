"""Which files a version of a table consists of."""

import re
from collections.abc import Iterator

import lance

from store.tables import damage
from store.tables.lance_tables import Tables

_MANIFEST = re.compile(r"_versions/(\d+)\.manifest")


def files_of_version(tables: Tables, name: str, dataset: lance.LanceDataset) -> Iterator[str]:
    """The files of a version: manifest, data, deletions, indexes.

    None of them changes once the version is committed.

    Args:
        tables: of the corpus.
        name: of the table.
        dataset: the version.

    Returns:
        Paths relative to the folder of the table.
    """
    yield manifest_of(dataset.version)
    with damage.detected(dataset.uri, dataset.version):
        fragments = [fragment.metadata for fragment in dataset.get_fragments()]
        indexes = {segment.uuid for i in dataset.describe_indices() for segment in i.segments}
    for fragment in fragments:
        yield from (f"data/{file.path}" for file in fragment.files)
        if fragment.deletion_file is not None:
            yield fragment.deletion_file.path(fragment.id)
    for index in sorted(map(str, indexes)):
        for file in tables.files.list(f"{name}.lance/_indices/{index}"):
            yield file.path.removeprefix(f"{name}.lance/")


def manifest_of(version: int) -> str:
    """The manifest of a version."""
    return f"_versions/{(1 << 64) - 1 - version:020d}.manifest"


def version_of(path: str) -> int:
    """The version whose manifest a file is; 0 if it is none. The path is as in `manifest_of`."""
    match = _MANIFEST.fullmatch(path)
    number = int(match[1]) if match else 0
    return number if number < 1 << 62 else (1 << 64) - 1 - number


def tagged_versions(dataset: lance.LanceDataset) -> list[int]:
    """The versions of a table that have a tag, sorted."""
    return sorted({int(tag["version"]) for tag in dataset.tags.list().values()})
