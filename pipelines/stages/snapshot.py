"""What is known of a corpus at one moment, read once to plan all of its stages and drops."""

from functools import cached_property

from embedders.corpus_space import corpus_space
from embedders.spaces import Space
from store.tables.stage_records import StageRecords
from store.workspace import Workspace


class Snapshot:
    """What the run keys of all drops and stages share. Each part is read when it is first needed.

    Args:
        workspace: the corpus in one of its spaces.
    """

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._of_spaces = {workspace.config.space: self}

    @cached_property
    def records(self) -> StageRecords:
        """The records of the stages."""
        return StageRecords.read(self.workspace.tables)

    def of(self, workspace: Workspace) -> "Snapshot":
        """The snapshot of the same corpus in the space of `workspace`. It shares the records."""
        name = workspace.config.space
        if name not in self._of_spaces:
            other = Snapshot(workspace)
            other.records, other._of_spaces = self.records, self._of_spaces
            self._of_spaces[name] = other
        return self._of_spaces[name]

    @cached_property
    def space(self) -> Space:
        """The space of the workspace, with the learned projections that are current.

        Raises:
            EncoderError: the space is not valid.
        """
        return corpus_space(self.workspace)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each tower's encoder, by modality, in alphabetical order.

        Raises:
            NotAlignedError: a tower has no projection yet.
        """
        return {
            modality: self.space.fingerprint(modality) for modality in sorted(self.space.towers)
        }

    @cached_property
    def query_fingerprints(self) -> dict[str, str]:
        """The fingerprints of the encoders of queries; see `Space.query_towers`.

        Raises:
            NotAlignedError: a bridge has not been learned from the current encoders.
        """
        bridged = {m: self.space.query_fingerprint(m) for m in sorted(self.space.bridged)}
        return self.fingerprints | bridged
