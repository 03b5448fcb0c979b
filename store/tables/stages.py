"""The stages in the order of the data: scope, inputs, code version, what they count, engines.

Order, staleness, Dagster's dependencies, reports and the command line are derived from `STAGES`.
A new stage is one row here, a run key in `pipelines/stages/run_keys.py`, a `stage.py` in a folder
of `pipelines/`, and an asset.
"""

from dataclasses import dataclass

from store.tables.names import kind_of

EVERY_DROP = "*"  # the drop under which a global stage is recorded


@dataclass(frozen=True)
class Stage:
    """One step of the data flow, which makes one table (or one for each space and modality).

    Attributes:
        name: of the stage, and of its record in the table `stages`.
        by_drop: made for each drop; otherwise made once, from all drops.
        reads: the stages whose tables it reads directly.
        reads_if_named: the stages that it reads only if the policy names one of their signals.
        version: of the stage's code. Raise it when the same input would give other rows.
        counts: what its record counts, "samples" or "parts".
        engines: the engines that do its work, beside Lance.
        in_funnel: samples that it rejects go no further.
        by_space: made for each space of corpus.yaml, from the vectors of that space.
    """

    name: str
    by_drop: bool
    reads: tuple[str, ...]
    version: int
    counts: str = "samples"
    engines: tuple[str, ...] = ()
    in_funnel: bool = False
    reads_if_named: tuple[str, ...] = ()
    by_space: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """All stages that must be made before this one."""
        return (*self.reads, *self.reads_if_named)

    @property
    def needs_ray(self) -> bool:
        """Whether Ray does all of its work."""
        return self.engines == ("ray",)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("samples", True, (), 2, engines=("beam",), in_funnel=True),
        Stage("signals", True, ("samples",), 2, engines=("beam", "ray"), in_funnel=True),
        Stage("vectors", True, ("samples", "signals"), 1, "parts", ("ray",), by_space=True),
        Stage("pairs", False, ("samples", "vectors"), 1, by_space=True),
        Stage(
            "duplicates",
            False,
            ("samples", "signals", "vectors"),
            3,
            in_funnel=True,
            reads_if_named=("pairs",),
        ),
        Stage(
            "decisions",
            False,
            ("signals", "duplicates"),
            1,
            in_funnel=True,
            reads_if_named=("pairs",),
        ),
        Stage("banks", False, ("vectors", "decisions"), 2, by_space=True),
        Stage(
            "gallery",
            False,
            ("vectors", "decisions", "banks"),
            3,
            "parts",
            ("ray",),
            by_space=True,
        ),
        Stage("index", False, ("banks", "gallery"), 2, "parts", by_space=True),
        Stage("release", False, ("banks", "gallery", "index"), 3, "parts", by_space=True),
    )
}
BY_DROP = tuple(stage.name for stage in STAGES.values() if stage.by_drop)
GLOBAL = tuple(stage.name for stage in STAGES.values() if not stage.by_drop)
BY_SPACE = tuple(stage.name for stage in STAGES.values() if stage.by_space)
FUNNEL = tuple(stage.name for stage in STAGES.values() if stage.in_funnel)


def name_in_space(stage: str, space: str | None) -> str:
    """The name under which a stage is recorded, locked, staged and shown.

    Args:
        stage: its name.
        space: None: the main space, `space:` of corpus.yaml. Else another one of `spaces:`.

    Returns:
        The stage's name, for another space followed by the space: `vectors__clip`.
    """
    return stage if space is None or not STAGES[stage].by_space else f"{stage}__{space}"


def stage_of(name: str) -> Stage:
    """The stage of a name of `name_in_space`."""
    return STAGES[kind_of(name)]
