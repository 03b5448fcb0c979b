"""Commits of Lance: once, although replies get lost, requests fail, and writers are paused.

Lance commits by writing a manifest that must not exist yet. A transaction carries the id of its
publication, so that a commit whose reply was lost is recognised in the table. It also carries its
scope: the rows that it replaces. The locks keep two publications of one scope apart. A writer on an
object store can lose its lock while it is paused, even in the middle of a commit. Lance lets two
writers both add rows. So the versions between the one that was read and the one that was committed
are looked at, and a publication that was overtaken removes its rows again.
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

ALL_ROWS, NO_ROWS = "*", "false"  # scopes beside SQL conditions, of which hashes are stored
_ID, _SCOPE = "isotrope.publication", "isotrope.scope"
_ATTEMPTS = 5
_FIRST_WAIT = 0.5  # seconds; doubled after each attempt


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
            BusyError: another publication of the same scope came first, or a lock was lost. The
                rows are as if this publication had not happened.
            StoreError: the object store failed repeatedly. Nothing was committed.
        """
        properties = {_ID: self.id, _SCOPE: self._stored_scope}
        transaction = Transaction(dataset.version, operation, transaction_properties=properties)
        for attempt in range(1, _ATTEMPTS + 1):
            self.check()
            try:
                committed = lance.LanceDataset.commit(
                    dataset.uri, transaction, storage_options=self.storage_options
                )
                if committed.version == dataset.version + 1:
                    return int(committed.version)
                break
            except (OSError, ValueError, RuntimeError) as error:
                if self._version_in(self._versions_since(dataset)) is not None:
                    break
                if "onflict" in str(error):
                    raise self._overtaken(dataset) from error
                if not is_store_error(error):
                    raise
                if attempt == _ATTEMPTS:
                    raise StoreError(f"{dataset.uri}: {first_line(error)}") from error
            time.sleep(_FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
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
            self._remove_rows(dataset, version)
            raise self._overtaken(dataset)
        return version

    def _versions_since(self, dataset: lance.LanceDataset) -> Iterator[tuple[int, dict[str, str]]]:
        """The versions after that of `dataset`, with the properties of their transactions."""
        newest = CheckedDataset(dataset.uri, storage_options=self.storage_options)
        for version in range(dataset.version + 1, newest.version + 1):
            transaction = newest.read_transaction(version)
            yield version, (transaction and transaction.transaction_properties) or {}

    def _version_in(self, versions: "Iterator[tuple[int, dict[str, str]]] | list") -> int | None:
        return next((v for v, properties in versions if properties.get(_ID) == self.id), None)

    def _remove_rows(self, dataset: lance.LanceDataset, version: int) -> None:
        """Remove the fragments that this publication added."""
        before = self._files(dataset, version - 1)
        newest = CheckedDataset(dataset.uri, storage_options=self.storage_options)
        added = self._files(dataset, version) - before
        fragments = [
            fragment.fragment_id
            for fragment in newest.get_fragments()
            if {file.path for file in fragment.metadata.files} & added
        ]
        operation = lance.LanceOperation.Update(
            removed_fragment_ids=fragments, updated_fragments=[], new_fragments=[]
        )
        lance.LanceDataset.commit(
            dataset.uri,
            operation,
            read_version=newest.version,
            storage_options=self.storage_options,
        )

    def _files(self, dataset: lance.LanceDataset, version: int) -> set[str]:
        opened = CheckedDataset(dataset.uri, version, storage_options=self.storage_options)
        fragments = opened.get_fragments()
        return {file.path for fragment in fragments for file in fragment.metadata.files}

    def _overtaken(self, dataset: lance.LanceDataset) -> BusyError:
        return BusyError(
            f"another process changed the same rows of {dataset.uri} meanwhile, so this process"
            " published nothing; run again"
        )


def _overlap(scope: str, other: str) -> bool:
    if NO_ROWS in (scope, other):
        return False
    return scope == other or ALL_ROWS in (scope, other)
