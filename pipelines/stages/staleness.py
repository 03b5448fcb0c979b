"""What is missing: worked out from the run keys in the store, whoever wrote them."""

from collections.abc import Callable

from pipelines.sources.drops import Drop, find_drops
from pipelines.stages import run_keys
from store.errors import NotFoundError, SourceError
from store.tables import schema
from store.tables.stages import EVERY_DROP
from store.tables.staging import record
from store.workspace import Workspace


def drops(workspace: Workspace) -> dict[str, Drop]:
    """The drops that the corpus's sources deliver now, by name.

    Raises:
        SourceError: a source is missing or empty, or two sources deliver a drop of one name.
    """
    found: dict[str, Drop] = {}
    for name, source in workspace.config.sources.items():
        path = workspace.source_path(source)
        for drop in find_drops(name, path, source.drop_by, source.columns).values():
            if drop.name in found:
                raise SourceError(
                    f"two sources deliver a drop called {drop.name!r}: {found[drop.name].root}"
                    f" and {drop.root}; rename one"
                )
            found[drop.name] = drop
    return dict(sorted(found.items()))


def known_drops(workspace: Workspace) -> list[str]:
    """The drops that have samples in the store, delivered still or not."""
    stages = workspace.tables.scan("stages", schema.STAGES, ["drop"], "stage = 'samples'")
    return sorted(set(stages["drop"].to_pylist()))


def stale(workspace: Workspace, drop: Drop | str | None) -> list[str]:
    """The stages of a drop that are missing or out of date, in order; None: the global ones.

    What reads one of them is one too: what it reads will change. A drop given by name is one whose
    files are no longer looked at: its samples count as up to date.
    """
    stages = _by_drop(drop) if drop is not None else _GLOBAL
    found: list[str] = []
    for stage, run_key in stages.items():
        if _reads(workspace, stage) & set(found) or _changed(workspace, stage, drop, run_key):
            found.append(stage)
    return found


def _reads(workspace: Workspace, stage: str) -> set[str]:
    """The stages of the same drop, or of the global ones, that a stage reads directly."""
    reads = {
        "signals": {"samples"},
        "vectors": {"signals"},
        "decisions": {"duplicates"},
        "banks": {"decisions"},
        "gallery": {"banks"},
        "release": {"gallery"},
    }.get(stage, set())
    judging = stage in ("duplicates", "decisions")  # what stands for others must pass the policy
    return reads | {"pairs"} if judging and run_keys.names_pairs(workspace, stage) else reads


def _changed(
    workspace: Workspace, stage: str, drop: Drop | str | None, run_key: Callable[[Workspace], str]
) -> bool:
    done = record(workspace.tables, stage, _name(drop))
    try:
        return done is None or done["run_key"] != run_key(workspace)
    except NotFoundError:
        return True


def _name(drop: Drop | str | None) -> str:
    if drop is None:
        return EVERY_DROP
    return drop if isinstance(drop, str) else drop.name


def _by_drop(drop: Drop | str) -> dict[str, Callable[[Workspace], str]]:
    name = _name(drop)
    after: dict[str, Callable[[Workspace], str]] = {
        "signals": lambda w: run_keys.signals(w, name),
        "vectors": lambda w: run_keys.vectors(w, name),
    }
    if isinstance(drop, str):
        return after
    return {"samples": lambda w: run_keys.samples(w, drop), **after}


_GLOBAL: dict[str, Callable[[Workspace], str]] = {
    "pairs": run_keys.pairs,
    "duplicates": run_keys.duplicates,
    "decisions": run_keys.decisions,
    "banks": run_keys.banks,
    "gallery": run_keys.gallery,
    "release": run_keys.release,
}
