"""What is made of a corpus, what is out of date and why, and how long a run would take."""

from dataclasses import dataclass, field

from pipelines.estimate.estimate import estimate
from pipelines.reports.outcomes import read_stages
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.stages.snapshot import Snapshot
from store.errors import NotFoundError
from store.tables.releases import latest_release
from store.tables.stages import BY_DROP, GLOBAL, STAGES
from store.workspace import Workspace


@dataclass
class StageStatus:
    """One stage of a corpus, over all drops.

    Attributes:
        stage: its name.
        kept: samples or parts that its records keep.
        stale: why it is out of date, with the number of drops; 1 for a stage over all drops.
        seconds: that a run would take, by earlier runs. None: not measured, or nothing to do.
    """

    stage: str
    kept: int = 0
    stale: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None


@dataclass
class CorpusStatus:
    """All stages in the order of the data, and the number of the release that is searched."""

    stages: list[StageStatus]
    release: int | None


def corpus_status(workspace: Workspace) -> CorpusStatus:
    """Read the records of all stages and compare them with what they would be now.

    Raises:
        SourceError: a source cannot be read.
        DamagedTableError: a table cannot be read.
    """
    snapshot, delivered = Snapshot(workspace), staleness.drops(workspace)
    spaces = workspace.spaces()
    names = dict.fromkeys(space.name_of(stage) for space in spaces for stage in STAGES)
    stages = {name: StageStatus(name) for name in names}
    for counts in read_stages(workspace.tables):
        if counts.stage in stages:  # else of a space that corpus.yaml does not have any more
            stages[counts.stage].kept += counts.kept
    for space in spaces:
        for drop in (*delivered.values(), None):
            context = StageContext(space, drop, snapshot=snapshot)
            for name, reason in staleness.reasons(context).items():
                stale = stages[space.name_of(name)].stale
                stale[reason] = stale.get(reason, 0) + 1
    for space in spaces:
        changing = [n for n in map(space.name_of, BY_DROP) if stages[n].stale]
        for name in map(space.name_of, GLOBAL):  # compared with the drops as they are made now
            if changing and not stages[name].stale:
                stages[name].stale = {f"{', '.join(changing)} of drops will change": 1}
    for each in estimate(workspace, delivered=delivered, snapshot=snapshot):
        stages[each.stage].seconds = each.seconds
    return CorpusStatus(list(stages.values()), _release(workspace))


def _release(workspace: Workspace) -> int | None:
    try:
        return latest_release(workspace.tables, workspace.config.space).number
    except NotFoundError:
        return None
