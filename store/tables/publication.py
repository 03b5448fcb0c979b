"""Commits of Lance: once, although replies get lost, requests fail, and writers are paused.

Lance commits by writing a manifest that must not exist yet. A transaction carries the id of its
publication, so that a commit whose reply was lost is recognised in the table. It also carries its
scope: the rows that it replaces. The locks keep two publications of one scope apart. A writer on an
object store can lose its lock while it is paused, even in the middle of a commit. Lance lets two
writers both add rows. So the versions between the one that was read and the one that was committed
are looked at, and a publication that was overtaken removes its rows again. If its writer dies
before that, the next writer of the table does it (`finish_undo`).
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import lance
from lance.dataset import Transaction

from store import identity
from store.errors import BusyError, StoreError, first_line
from store.tables.damage import CheckedDataset, is_store_error
from store.tables.written_files import check_written

ALL_ROWS, NO_ROWS = "*", "false"  # scopes beside SQL conditions, of which hashes are stored
_ID, _SCOPE = "isotrope.publication", "isotrope.scope"
_READ = "isotrope.read_version"  # Lance changes the read version of a transaction that it rebases
ATTEMPTS = 5
_FIRST_WAIT = 0.5  # seconds; doubled after each attempt
_OTHER_TOOLS = 8  # commits of other tools in a row, behind which an undo is looked for


class ConflictError(Exception):
    """Another program changed the same fragments between the read of a table and a commit."""


@dataclass(frozen=True)
class Publication:
    """One commit to one table.

    Attributes:
        scope: the rows that are replaced: an SQL condition, ALL_ROWS or NO_ROWS. Another
            publication of these rows must not happen between reading the table and this commit.
        check: raises BusyError if a lock was lost.
        storage_options: of Lance.
        id: of this publication.
    """

    scope: str
    check: Callable[[], None]
    storage_options: dict[str, str] | None
    id: str = field(default_factory=lambda: uuid4().hex)

    def commit(
        self, dataset: lance.LanceDataset, operation: lance.LanceOperation.BaseOperation
    ) -> int:
        """Commit an operation that was made from `dataset`; return the new version.

        Raises:
            ConflictError: another program changed the same fragments meanwhile. Nothing was
                committed. Read the table again and repeat.
            BusyError: another publication of the same scope came first, or a lock was lost. The
                rows are as if this publication had not happened.
            StoreError: the object store failed repeatedly, or the disk is full. Nothing was
                committed.
        """
        check_written(dataset.uri, _new_fragments(operation))
        properties = {
            _ID: self.id,
            _SCOPE: self._stored_scope,
            _READ: str(dataset.version),
        }
        transaction = Transaction(dataset.version, operation, transaction_properties=properties)
        for attempt in range(1, ATTEMPTS + 1):
            self.check()
            try:
                # To the dataset, not to its address: Lance would open the table again.
                committed = lance.LanceDataset.commit(
                    dataset, transaction, storage_options=self.storage_options
                )
                if committed.version == dataset.version + 1:
                    return int(committed.version)
                break
            except (OSError, ValueError, RuntimeError) as error:
                if self._version_in(self._versions_since(dataset)) is not None:
                    break
                if "onflict" in str(error):
                    raise ConflictError(f"{dataset.uri}: {first_line(error)}") from error
                if not is_store_error(error):
                    raise
                if attempt == ATTEMPTS:
                    raise StoreError(f"{dataset.uri}: {first_line(error)}") from error
            wait(attempt)
        return self._verified(dataset)

    @property
    def _stored_scope(self) -> str:
        """The scope without content: a condition may name keys, which can be taken down."""
        is_content = self.scope not in (ALL_ROWS, NO_ROWS)
        return identity.run_key("scope", self.scope) if is_content else self.scope

    def _verified(self, dataset: lance.LanceDataset) -> int:
        """The version of this publication. Undo it if it was overtaken."""
        newer = list(self._versions_since(dataset))
        version = self._version_in(newer)
        if version is None:
            raise StoreError(f"{dataset.uri}: the commit of this process is not in the table")
        earlier = [properties.get(_SCOPE, NO_ROWS) for v, properties in newer if v < version]
        if any(_overlap(self._stored_scope, scope) for scope in earlier):
            _remove_rows(dataset, version, self.storage_options)
            raise self.overtaken(dataset)
        return version

    def was_overtaken(self, dataset: lance.LanceDataset) -> bool:
        """Whether another publication replaced rows of this scope after `dataset` was read."""
        return any(
            _overlap(self._stored_scope, properties.get(_SCOPE, NO_ROWS))
            for _, properties in self._versions_since(dataset)
        )

    def _versions_since(self, dataset: lance.LanceDataset) -> Iterator[tuple[int, dict[str, str]]]:
        """The versions after that of `dataset`, with the properties of their transactions."""
        newest = CheckedDataset(dataset.uri, storage_options=self.storage_options)
        for version in range(dataset.version + 1, newest.version + 1):
            yield version, _properties(newest, version)

    def _version_in(self, versions: "Iterator[tuple[int, dict[str, str]]] | list") -> int | None:
        return next((v for v, properties in versions if properties.get(_ID) == self.id), None)

    def overtaken(self, dataset: lance.LanceDataset) -> BusyError:
        """The error for rows that another publication has replaced."""
        return BusyError(
            f"another process changed the same rows of {dataset.uri} meanwhile, so this process"
            " published nothing; run again"
        )


def wait(attempt: int) -> None:
    """Wait before the next attempt: longer after each one (the first is 1), at random."""
    time.sleep(_FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))


def finish_undo(dataset: lance.LanceDataset, storage_options: dict[str, str] | None) -> bool:
    """Undo the newest publication if it was overtaken and its writer died before the undo.

    Only writers that lost a lease can be overtaken. Every writer calls this before it changes a
    table, so no older publication is in this state.

    Args:
        dataset: the table, at its newest version. The caller holds its lock.
        storage_options: of Lance. None: a local table, which has no leases.

    Returns:
        Whether the table was changed, so that it must be opened again.
    """
    if storage_options is None:
        return False
    for version in range(dataset.version, max(dataset.version - _OTHER_TOOLS, 0), -1):
        properties = _properties(dataset, version)
        if _ID in properties:
            break
    else:
        return False
    between = range(int(properties.get(_READ, version)) + 1, version)
    earlier = [_properties(dataset, number).get(_SCOPE, NO_ROWS) for number in between]
    is_overtaken = any(_overlap(properties[_SCOPE], scope) for scope in earlier)
    return is_overtaken and _remove_rows(dataset, version, storage_options)


def _properties(dataset: lance.LanceDataset, version: int) -> dict[str, str]:
    """The properties of a version's transaction. Empty: it has none, or has been deleted."""
    try:
        transaction = dataset.read_transaction(version)
    except (OSError, ValueError, RuntimeError) as error:
        if is_store_error(error):
            raise StoreError(f"{dataset.uri}: {first_line(error)}") from error
        return {}
    return (transaction and transaction.transaction_properties) or {}


def _remove_rows(
    dataset: lance.LanceDataset, version: int, storage_options: dict[str, str] | None
) -> bool:
    """Remove the fragments that a version added; return whether there were any."""
    added = _files(dataset, version, storage_options) - _files(
        dataset, version - 1, storage_options
    )
    newest = CheckedDataset(dataset.uri, storage_options=storage_options)
    fragments = [
        fragment.fragment_id
        for fragment in newest.get_fragments()
        if {file.path for file in fragment.metadata.files} & added
    ]
    if not fragments:
        return False
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=fragments, updated_fragments=[], new_fragments=[]
    )
    properties = {_ID: uuid4().hex, _SCOPE: NO_ROWS, _READ: str(newest.version)}
    undo = Transaction(newest.version, operation, transaction_properties=properties)
    try:
        lance.LanceDataset.commit(dataset.uri, undo, storage_options=storage_options)
    except (OSError, ValueError, RuntimeError) as error:
        if "onflict" not in str(error):
            raise
        # The overtaken writer and the next one may do this at the same time.
        return _remove_rows(dataset, version, storage_options)
    return True


def _files(
    dataset: lance.LanceDataset, version: int, storage_options: dict[str, str] | None
) -> set[str]:
    opened = CheckedDataset(dataset.uri, version, storage_options=storage_options)
    return {file.path for f in opened.get_fragments() for file in f.metadata.files}


def _new_fragments(
    operation: lance.LanceOperation.BaseOperation,
) -> Iterator[lance.FragmentMetadata]:
    for name in ("fragments", "new_fragments", "updated_fragments"):
        yield from getattr(operation, name, None) or ()


def _overlap(scope: str, other: str) -> bool:
    if NO_ROWS in (scope, other):
        return False
    return scope == other or ALL_ROWS in (scope, other)
