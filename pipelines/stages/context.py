"""The context of one run of a stage: the corpus, its space, and the drop.

It is made once for a run of a stage and handed down, so that the space is resolved once.
"""

from dataclasses import dataclass
from functools import cached_property

from embedders.spaces import Space
from pipelines.sources.drops import Drop
from pipelines.stages.snapshot import Snapshot
from store.config.corpus_yaml import CorpusConfig
from store.errors import InputError
from store.tables.lance_tables import Tables
from store.tables.stage_records import StageRecords
from store.tables.stages import EVERY_DROP
from store.workspace import Workspace


@dataclass(frozen=True)
class StageContext:
    """What a stage is made from.

    Attributes:
        workspace: the corpus.
        drop: the delivered drop (needed by `samples`), the name of a drop that has samples, or
            None for a global stage.
        forced: make the table again from scratch, although its inputs are unchanged.
        snapshot: shared by the contexts of a plan. None: the context reads one of its own.
    """

    workspace: Workspace
    drop: Drop | str | None = None
    forced: bool = False
    snapshot: Snapshot | None = None

    @property
    def tables(self) -> Tables:
        return self.workspace.tables

    @property
    def config(self) -> CorpusConfig:
        return self.workspace.config

    @property
    def drop_name(self) -> str:
        """The drop under which the stage is recorded: its name, or `EVERY_DROP`."""
        if self.drop is None:
            return EVERY_DROP
        return self.drop if isinstance(self.drop, str) else self.drop.name

    @property
    def delivery(self) -> Drop:
        """The drop with its files.

        Raises:
            InputError: the context has no drop, or only its name.
        """
        if not isinstance(self.drop, Drop):
            raise InputError(f"the files of a drop are needed, not only its name: {self.drop!r}")
        return self.drop

    @property
    def records(self) -> StageRecords:
        """The records of the stages: the snapshot's, or as they are now."""
        if self.snapshot is not None:
            return self.snapshot.records
        return StageRecords.read(self.tables, None if self.drop is None else self.drop_name)

    def name_of(self, stage: str) -> str:
        """The name of a stage in the space of the workspace; see `Workspace.name_of`."""
        return self.workspace.name_of(stage)

    @property
    def space(self) -> Space:
        """The space of the workspace; see `Snapshot.space`."""
        return self._snapshot.space

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each tower's encoder, by modality; see `Snapshot.fingerprints`."""
        return self._snapshot.fingerprints

    @property
    def query_fingerprints(self) -> dict[str, str]:
        """The fingerprints of the encoders of queries; see `Snapshot.query_fingerprints`."""
        return self._snapshot.query_fingerprints

    @cached_property
    def _snapshot(self) -> Snapshot:
        return self.snapshot or Snapshot(self.workspace)
