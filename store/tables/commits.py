"""Writes of one open Lance table. The caller holds the lock of the table."""

from collections.abc import Callable, Iterable

import lance
import pyarrow as pa

from store.tables import damage
from store.tables.columns import check_nulls, missing, same_columns, unknown
from store.tables.formats import with_format
from store.tables.publication import ATTEMPTS, NO_ROWS, ConflictError, Publication, wait
from store.tables.row_reader import row_reader

# Deletes rows of a version of the table from its fragments, without a commit. It gets the fragments
# that will be added. Returns the ids of the fragments that have no rows left, and the metadata of
# the others.
Added = list[lance.FragmentMetadata]
Delete = Callable[[lance.LanceDataset, Added], tuple[list[int], Added]]


def prepare(dataset: lance.LanceDataset, name: str, schema: pa.Schema) -> bool:
    """Prepare a table for rows of `schema`.

    Columns that the table lacks are added as nulls. Columns that the code does not know may be
    null from then on.

    Returns:
        Whether the table was changed, so that it must be opened again.

    Raises:
        SchemaError: columns differ in any other way. Nothing was changed.
    """
    absent = missing(name, dataset.schema, schema)
    check_nulls(name, dataset.schema, schema)
    strict = [f.name for f in unknown(dataset.schema, schema) if not f.nullable]
    if strict:
        dataset.alter_columns(*({"path": column, "nullable": True} for column in strict))
    if absent:
        dataset.add_columns(pa.schema(absent))
    return bool(absent or strict)


def exchange(
    dataset: lance.LanceDataset,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    delete: Delete,
    publication: Publication,
    written: Iterable[lance.FragmentMetadata] = (),
) -> int:
    """Add rows and delete others in one commit.

    If another tool changed the same fragments meanwhile, the deletions are repeated on the newest
    version. Other tools take no locks.

    Args:
        dataset: the table, at its newest version.
        schema: of the batches.
        batches: the rows to add.
        delete: called after `batches` is exhausted, and again after each conflict.
        publication: makes the commit.
        written: further rows to add, whose files exist.

    Returns:
        The new version, or the current one if nothing changed.

    Raises:
        BusyError: there were too many conflicts, a lock was lost, or another publication of the
            same rows came first. Nothing was committed.
    """
    reader = row_reader(schema, batches)
    added = [*written, *lance.fragment.write_fragments(reader, dataset, schema=schema)]
    for attempt in range(1, ATTEMPTS + 1):
        with damage.detected(dataset.uri, dataset.version):
            removed, updated = delete(dataset, added)
        if not (added or removed or updated):
            return int(dataset.version)
        operation = lance.LanceOperation.Update(
            removed_fragment_ids=removed, updated_fragments=updated, new_fragments=added
        )
        try:
            return publication.commit(dataset, operation)
        except ConflictError as error:
            newest = damage.CheckedDataset(dataset.uri, storage_options=publication.storage_options)
            is_last = attempt == ATTEMPTS or not same_columns(dataset.schema, newest.schema)
            if is_last or publication.was_overtaken(dataset):
                raise publication.overtaken(dataset) from error
            dataset = newest
        wait(attempt)
    raise AssertionError


def overwrite(
    dataset: lance.LanceDataset,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    publication: Publication,
) -> int:
    """Replace all rows in one commit, and the columns if they differ.

    Columns that the code does not know are kept if they may be null. Their values are removed
    with the rows.

    Returns:
        The new version, or the current one if nothing changed.
    """
    kept = [field for field in unknown(dataset.schema, schema) if field.nullable]
    columns = pa.schema([*schema, *kept])
    if same_columns(dataset.schema, columns):
        return exchange(dataset, schema, batches, _all_fragments, publication)
    reader = row_reader(schema, batches)
    added = lance.fragment.write_fragments(reader, dataset, schema=schema, mode="overwrite")
    operation = lance.LanceOperation.Overwrite(with_format(columns), list(added))
    try:
        return publication.commit(dataset, operation)
    except ConflictError as error:
        raise publication.overtaken(dataset) from error


def _all_fragments(dataset: lance.LanceDataset, added: Added) -> tuple[list[int], Added]:
    return [fragment.fragment_id for fragment in dataset.get_fragments()], []


def delete_where(where: str) -> Delete:
    """Delete the rows that match an SQL condition. See `exchange`."""

    def delete(dataset: lance.LanceDataset, added: Added) -> tuple[list[int], Added]:
        removed, updated = [], []
        # A table can have a million fragments, and most commits only add rows.
        for fragment in dataset.get_fragments() if where != NO_ROWS else ():
            remaining = fragment.delete(where)
            if remaining is None:  # no row of the fragment is left
                removed.append(fragment.fragment_id)
            elif remaining.deletion_file != fragment.metadata.deletion_file:
                updated.append(remaining)
        return removed, updated

    return delete
