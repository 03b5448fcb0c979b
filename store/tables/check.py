"""Checks that the files of all tables can be read, and that kept releases can be opened."""

from collections.abc import Iterator
from dataclasses import dataclass

import lance

from store.errors import IsotropeError
from store.tables import checksums, releases
from store.tables.damage import damaged, detected
from store.tables.lance_tables import Tables
from store.tables.lost_tables import all_names, check_not_lost
from store.tables.names import has_unique_parts, is_gallery

_READ_ROWS = 1024
REPAIR = (
    "`isotrope repair` goes back to the newest sound version of the table; or put the files back"
    " from a backup"
)
REMAKE = "`isotrope check --mark-stale`, then `isotrope run`, which makes the stage again"
# A run embeds only parts that have no vector.
DELETE_ROWS = (
    "delete the wrong rows with Lance, then `isotrope check --mark-stale` and `isotrope run`, which"
    " embeds the missing parts"
)


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name.
        table: that was checked.
        drop: the check is of this drop alone. None: of the whole table.
        problem: what is wrong. Empty: the check passed.
        remedy: what to do about it. Empty if the check passed.
    """

    check: str
    table: str
    drop: str | None = None
    problem: str = ""
    remedy: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


def check_files(tables: Tables, deep: bool = False) -> Iterator[Finding]:
    """Check the manifest and the files of the newest version of every table.

    Args:
        tables: of the corpus.
        deep: also read all rows, and open all versions. Otherwise files are compared with the
            sizes that the manifest has.
    """
    for name, recorded in all_names(tables).items():
        try:
            check_not_lost(tables, name, recorded)
            dataset = tables.open(name)
            check_sizes(tables, name, dataset)
            dataset.scanner(columns=[], with_row_address=True).count_rows()  # reads deletions
            if deep:
                _read_all(dataset)
                for version in dataset.versions():
                    old = tables.open(name, version["version"], any_format=True)
                    check_sizes(tables, name, old)
        except IsotropeError as error:
            yield Finding("files", name, problem=str(error), remedy=REPAIR)
            continue
        yield Finding("files", name)
        if deep:
            yield _check_checksums(tables, name)
        if has_unique_parts(name):
            yield _check_unique(dataset, name)


def _check_checksums(tables: Tables, name: str) -> Finding:
    changed = checksums.changed_files(tables, name)
    problem = f"bytes of {len(changed)} files have changed: {', '.join(changed[:3])}"
    return Finding("checksums", name, *((None, problem, REPAIR) if changed else ()))


def check_releases(tables: Tables, deep: bool = False) -> Iterator[Finding]:
    """Check that the tags of every kept release exist and open at the version of the release.

    Args:
        tables: of the corpus.
        deep: also read all rows of the tagged versions.
    """
    remedy = "make a new release: `isotrope run` after a change, or the job `refit`"
    try:
        kept = releases.kept_releases(tables)
    except IsotropeError as error:
        yield Finding("tags", releases.TABLE, problem=str(error), remedy=REPAIR)
        return
    for release in kept:
        for name, version in release.versions.items():
            check = f"tag {release.tag}"
            try:
                dataset = tables.open(name, release.tag)
                check_sizes(tables, name, dataset)
                if deep:
                    _read_all(dataset)
            except IsotropeError as error:
                yield Finding(check, name, problem=str(error), remedy=remedy)
                continue
            problem = ""
            if dataset.version != version:
                problem = f"the tag is of version {dataset.version}, the release of {version}"
            yield Finding(check, name, problem=problem, remedy=remedy if problem else "")


def check_sizes(tables: Tables, name: str, dataset: lance.LanceDataset) -> None:
    """Compare the files of a version with its manifest. Raises DamagedTableError."""
    sizes = {file.path: file.size for file in tables.files.list(f"{name}.lance")}
    with detected(dataset.uri, dataset.version):
        fragments = [fragment.metadata for fragment in dataset.get_fragments()]
    for fragment in fragments:
        expected = {f"data/{file.path}": file.file_size_bytes for file in fragment.files}
        if fragment.deletion_file is not None:
            expected[fragment.deletion_file.path(fragment.id)] = None
        for path, size in expected.items():
            actual = sizes.get(f"{name}.lance/{path}")
            if actual is None:
                raise damaged(dataset.uri, dataset.version, f"{path} is missing")
            if size not in (None, actual):
                problem = f"{path} has {actual} bytes instead of {size}"
                raise damaged(dataset.uri, dataset.version, problem)


def _read_all(dataset: lance.LanceDataset) -> None:
    """Read and validate all rows. Raises DamagedTableError."""
    for batch in dataset.to_batches(batch_size=_READ_ROWS):
        with detected(dataset.uri, dataset.version):
            batch.validate(full=True)


def _check_unique(dataset: lance.LanceDataset, name: str) -> Finding:
    try:
        parts = dataset.to_table(columns=["part_id"])["part_id"]
    except (IsotropeError, ValueError) as error:
        return Finding("unique parts", name, problem=str(error), remedy=REPAIR)
    repeated = len(parts) - len(parts.unique())
    if not repeated:
        return Finding("unique parts", name)
    return Finding(
        "unique parts",
        name,
        problem=f"{repeated} rows repeat a part",
        remedy=REMAKE if is_gallery(name) else DELETE_ROWS,
    )
