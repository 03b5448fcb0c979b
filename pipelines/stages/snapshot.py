"""What is known of a corpus at one moment, read once to plan all of its stages and drops."""

from functools import cached_property

from embedders.corpus_space import corpus_space
from embedders.spaces import Space
from store.tables.stage_records import StageRecords
from store.workspace import Workspace


class Snapshot:
    """What the run keys of all drops and stages share. Each part is read when it is first needed.

    Args:
        workspace: the corpus.
    """

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    @cached_property
    def records(self) -> StageRecords:
        """The records of the stages."""
        return StageRecords.read(self.workspace.tables)

    @cached_property
    def space(self) -> Space:
        """The space of corpus.yaml, with the learned projections that are current.

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
