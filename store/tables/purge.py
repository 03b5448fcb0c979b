"""Removes rows from every kept version of a table, and their bytes from the disk.

Lance only marks rows as deleted: their bytes stay in data files and in earlier versions. So data
files that ever held one of the rows are written again without it, the newest version and all
tagged versions are committed anew from the new files, tags move to the new versions, and then all
other versions and all files that belong to no version are deleted.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lance import FragmentMetadata
from lance.schema import LanceSchema

from store.tables import damage
from store.tables.lance_tables import SMALL_READAHEAD, Tables
from store.tables.reindex import copy_indexes
from store.tables.row_reader import row_reader
from store.tables.written_files import check_written

_ROWS = 256  # in a batch of rows that are written again
_CLEANUP_SECONDS = 600.0


@dataclass(frozen=True)
class Rule:
    """Which rows of a table are removed or changed.

    Attributes:
        columns: that `matches` reads. A version may lack some of them.
        matches: a batch of rows -> bool array without nulls.
        edit: the matching rows -> the rows that replace them, with the same columns. None: the
            matching rows are removed.
    """

    columns: tuple[str, ...]
    matches: Callable[[pa.RecordBatch], pa.Array]
    edit: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None


def purge_rows(tables: Tables, name: str, rule: Rule, newest: int) -> int:
    """Commit the newest version and all tagged versions anew, without the rows of a rule.

    It can be interrupted, and called again with the same arguments. Nothing is deleted yet
    (`delete_old_versions`). Readers may see an earlier content as the newest version meanwhile.

    Args:
        tables: of the corpus. No other process may write to the table.
        name: of the table.
        rule: which rows.
        newest: the version whose content is the newest one, whatever was committed since by an
            interrupted call.

    Returns:
        How many rows of the newest version were removed or changed.
    """
    with tables.lock(name):
        rewriter = _Rewriter(tables, name, rule)
        tags = tables.open(name, any_format=True).tags
        by_version: dict[int, list[str]] = {newest: []}
        for tag, about in tags.list().items():
            by_version.setdefault(int(about["version"]), []).append(tag)
        newest_tags = by_version.pop(newest)
        for version, names in sorted(by_version.items()):
            dataset = tables.open(name, version, any_format=True)
            if rewriter.matches(dataset):
                committed = rewriter.commit(dataset)
                for tag in names:
                    tags.update(tag, committed)
        dataset = tables.open(name, newest, any_format=True)
        is_newest = tables.open(name, any_format=True).version == newest
        if rewriter.matches(dataset) or not is_newest:
            committed = rewriter.commit(dataset)
            for tag in newest_tags:
                tags.update(tag, committed)
        return rewriter.count_live(dataset)


def delete_old_versions(tables: Tables, name: str) -> int:
    """Delete all versions but the newest and the tagged ones, and files of no version.

    Args:
        tables: of the corpus. No other process may write to the table.
        name: of the table.

    Returns:
        The bytes that were freed.
    """
    with tables.lock(name, timeout=_CLEANUP_SECONDS):
        dataset = tables.open(name, any_format=True)
        stats = dataset.cleanup_old_versions(
            older_than=timedelta(microseconds=1),
            delete_unverified=True,
            error_if_tagged_old_versions=False,
        )
        return int(stats.bytes_removed)


def rows_of_all_versions(
    tables: Tables, name: str, columns: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    """Stream columns of all rows that any version of a table has or had, deleted rows too.

    Every data file is read once. Columns that a version lacks are left out.
    """
    seen: set[tuple[str, ...]] = set()
    newest = tables.open(name, any_format=True)
    for version in sorted((int(v["version"]) for v in newest.versions()), reverse=True):
        dataset = tables.open(name, version, any_format=True)
        for fragment in dataset.get_fragments():
            if (files := _files(fragment.metadata)) not in seen:
                seen.add(files)
                yield from _physical_rows(dataset, fragment, columns)


class _Rewriter:
    """Writes data files of one table again, each once for all versions that have it."""

    def __init__(self, tables: Tables, name: str, rule: Rule):
        self.tables, self.name, self.rule = tables, name, rule
        self._matches: dict[tuple[str, ...], bool] = {}
        self._written: dict[tuple[str, ...], list[FragmentMetadata]] = {}

    def matches(self, dataset: lance.LanceDataset) -> bool:
        """Whether a data file of a version holds a matching row, deleted or not."""
        return any(self._holds_match(dataset, f) for f in dataset.get_fragments())

    def count_live(self, dataset: lance.LanceDataset) -> int:
        """The number of matching rows of a version."""
        columns = [c for c in self.rule.columns if c in dataset.schema.names]
        fragments = [f for f in dataset.get_fragments() if self._holds_match(dataset, f)]
        if not fragments:
            return 0
        batches = dataset.scanner(columns=columns, fragments=fragments).to_batches()
        return sum(pc.sum(self.rule.matches(batch)).as_py() or 0 for batch in batches)

    def commit(self, dataset: lance.LanceDataset) -> int:
        """Commit a version anew as the newest one; return the new version.

        Its indexes are built again. Files without a matching row are kept, unless rows of them are
        deleted: the ids of fragments change, and the names of deletion files contain them.
        """
        # The ids of columns differ from those of new files if columns were added and dropped.
        is_plain = LanceSchema.from_pyarrow(dataset.schema) == dataset.lance_schema
        fragments: list[FragmentMetadata] = []
        for fragment in dataset.get_fragments():
            has_deletions = fragment.metadata.deletion_file is not None
            if is_plain and not has_deletions and not self._holds_match(dataset, fragment):
                fragments.append(fragment.metadata)
            else:
                fragments += self._rewritten(dataset, fragment)
        check_written(dataset.uri, fragments)
        operation = lance.LanceOperation.Overwrite(dataset.schema, fragments)
        lance.LanceDataset.commit(
            dataset.uri, operation, storage_options=self.tables.storage_options
        )
        return copy_indexes(self.tables, self.name, dataset)  # the commit dropped them

    def _holds_match(self, dataset: lance.LanceDataset, fragment: lance.LanceFragment) -> bool:
        files = _files(fragment.metadata)
        if files not in self._matches:
            self._matches[files] = any(
                pc.any(self.rule.matches(batch)).as_py()
                for batch in _physical_rows(dataset, fragment, self.rule.columns)
            )
        return self._matches[files]

    def _rewritten(
        self, dataset: lance.LanceDataset, fragment: lance.LanceFragment
    ) -> list[FragmentMetadata]:
        key = (
            *_files(fragment.metadata),
            str(fragment.metadata.deletion_file),
            str(dataset.schema),
        )
        if key not in self._written:
            batches = self._remaining(dataset, fragment)
            first = next(batches, None)
            self._written[key] = []
            if first is not None:
                reader = row_reader(dataset.schema, chain([first], batches))
                self._written[key] = list(
                    lance.fragment.write_fragments(
                        reader,
                        dataset.uri,
                        schema=dataset.schema,
                        mode="overwrite",
                        data_storage_version=dataset.data_storage_version,
                        storage_options=self.tables.storage_options,
                    )
                )
        return self._written[key]

    def _remaining(
        self, dataset: lance.LanceDataset, fragment: lance.LanceFragment
    ) -> Iterator[pa.RecordBatch]:
        scanner = dataset.scanner(fragments=[fragment], batch_size=_ROWS, **SMALL_READAHEAD)
        for batch in scanner.to_batches():
            mask = self.rule.matches(batch)
            parts = [batch.filter(pc.invert(mask))]
            if self.rule.edit is not None and pc.any(mask).as_py():
                parts.append(self.rule.edit(batch.filter(mask)))
            for part in parts:
                if part.num_rows:
                    yield pa.RecordBatch.from_arrays(part.columns, schema=dataset.schema)


def _files(fragment: FragmentMetadata) -> tuple[str, ...]:
    return tuple(file.path for file in fragment.files)


def _physical_rows(
    dataset: lance.LanceDataset, fragment: lance.LanceFragment, columns: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    """Columns of all rows of a fragment, deleted rows too."""
    present = [column for column in columns if column in dataset.schema.names]
    scanner = dataset.scanner(
        columns=present, fragments=[fragment], with_row_id=True, include_deleted_rows=True
    )
    with damage.detected(dataset.uri, dataset.version):
        for batch in scanner.to_batches():
            yield batch.select(present)


def is_in(batch: pa.RecordBatch, values: Mapping[str, Collection[str]]) -> pa.Array:
    """Whether any of a batch's columns has one of its values: a bool array without nulls.

    Args:
        batch: rows.
        values: for each column, of strings or of lists of strings, the values. A batch may lack a
            column.
    """
    out = np.zeros(batch.num_rows, bool)
    for column, wanted in values.items():
        if column not in batch.schema.names or not wanted:
            continue
        array, value_set = batch[column], pa.array(sorted(wanted), pa.string())
        if pa.types.is_list(array.type):
            hits = pc.is_in(array.flatten(), value_set=value_set)
            out[pc.list_parent_indices(array).filter(hits).to_numpy()] = True
        else:
            out |= pc.is_in(array, value_set=value_set).to_numpy(zero_copy_only=False)
    return pa.array(out)
