"""Run keys: what each stage's output depends on, as one hash. Light to import, run before work.

A stage whose recorded key differs from the key of now is out of date. It depends on what it reads
through the `output` of the stages before it: a drop that is read again and turns out the same
does not make anything after it run.

`VERSIONS` are those of the stages' code: raise one when the same input would give other rows.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from embedders.corpus_space import corpus_space
from pipelines.policy.row_rules import hash_of, pair_signals, policy_hash, prefilter, row_tests
from pipelines.sources.drops import Drop, listing_hash
from store import identity
from store.errors import NotFoundError
from store.tables import schema
from store.tables.signals import OPTIONAL, SCORERS
from store.tables.stages import EVERY_DROP, VERSIONS
from store.tables.staging import record
from store.workspace import Workspace


def samples(workspace: Workspace, drop: Drop) -> str:
    read_by = workspace.config.limits.model_dump(), drop.columns.model_dump()
    return _key("samples", str(schema.SAMPLES), drop.name, listing_hash(drop), *read_by)


def signals(workspace: Workspace, drop: str) -> str:
    """Raises NotFoundError where the drop has no samples yet."""
    found = _output(workspace, "samples", drop)
    return _key("signals", str(schema.SIGNALS), drop, found, scorers(workspace))


def scorers(workspace: Workspace) -> dict[str, str]:
    """The versions of the scorers that corpus.yaml asks for, by name; a classifier's tells its
    weights and what is made of its output.

    Raises NotFoundError where a classifier's file is missing.
    """
    asked = workspace.config.signals
    versions = {name: str(version) for name, version in SCORERS.items()}
    for name, wanted in (("image_nsfw", asked.nsfw), ("audio_speech", asked.speech)):
        if wanted:
            versions[name] = str(OPTIONAL[name])
    for name, config in asked.classifiers().items():
        if not (path := config.path(workspace.root)).is_file():
            raise NotFoundError(f"signals.{name}.model: there is no file {path}")
        stat = path.stat()
        facts = config.model_dump(), _content(path, stat.st_size, stat.st_mtime_ns)
        version = OPTIONAL["image_classifier"]
        versions[name] = f"{version}-{identity.run_key(name, *facts)[:12]}"
    return versions


def vectors(workspace: Workspace, drop: str) -> str:
    """Raises NotFoundError where the drop has no signals yet, or a tower is yet to be aligned."""
    space = corpus_space(workspace)
    return _key(
        "vectors",
        drop,
        _output(workspace, "samples", drop),
        _output(workspace, "signals", drop),
        hash_of(prefilter(workspace.config.policy)),
        space.name,
        {m: space.fingerprint(m) for m in sorted(space.towers)},
    )


def pairs(workspace: Workspace) -> str:
    """Raises NotFoundError where nothing has vectors yet, or the linear head's file is missing."""
    embedded = _outputs(workspace, "vectors")
    if not embedded:
        raise NotFoundError("the corpus has no vectors yet; `isotrope run` makes them")
    return _key("pairs", _outputs(workspace, "samples"), embedded, pair_settings(workspace))


def pair_settings(workspace: Workspace) -> str:
    """What the signals of pairs depend on beside the vectors."""
    space, asked = corpus_space(workspace), workspace.config.pairs
    head = []
    if (path := pair_head(workspace)) is not None:
        stat = path.stat()
        head = [_content(path, stat.st_size, stat.st_mtime_ns)]
    return _key(
        "pairs",
        str(schema.PAIRS),
        space.name,
        {m: space.fingerprint(m) for m in sorted(space.towers)},
        asked.model_dump(exclude={"image_laion_aesthetic"}),
        head,
    )


def pair_head(workspace: Workspace) -> Path | None:
    """The file that `pairs.image_laion_aesthetic` names. Raises NotFoundError where it is none."""
    named = workspace.config.pairs.image_laion_aesthetic
    if named is None:
        return None
    path = (workspace.root / Path(named).expanduser()).resolve()
    if not path.is_file():
        raise NotFoundError(f"pairs.image_laion_aesthetic: there is no file {path}")
    return path


def duplicates(workspace: Workspace) -> str:
    """Raises SourceError where evaluation samples that corpus.yaml names are missing."""
    asked, tests = workspace.config.duplicates, row_tests(workspace.config.policy)
    listed = []
    if workspace.config.decontaminate:
        # Reading them takes what reads media, which a corpus without them need not load here.
        from pipelines.sources.evaluation_files import listing

        listed = [(e.name, listing(workspace, e)) for e in workspace.config.decontaminate]
    return _key(
        "duplicates",
        str(schema.DUPLICATES),
        _outputs(workspace, "samples"),
        _outputs(workspace, "signals"),
        _outputs(workspace, "vectors") if asked.semantic is not None else [],
        hash_of(tests),
        _output(workspace, "pairs") if names_pairs(workspace, "duplicates") else None,
        asked.model_dump(),
        listed,
    )


def decisions(workspace: Workspace) -> str:
    return _key(
        "decisions",
        str(schema.DECISIONS),
        _outputs(workspace, "signals"),
        _output(workspace, "duplicates"),
        policy_hash(workspace.config.policy),
        _output(workspace, "pairs") if names_pairs(workspace, "decisions") else None,
    )


def names_pairs(workspace: Workspace, stage: str) -> bool:
    """Whether the policy, as far as `duplicates` or `decisions` is concerned, needs a signal of
    pairs."""
    policy = workspace.config.policy
    whole = stage == "decisions"
    signals = policy.columns() if whole else [test.signal for test in row_tests(policy)]
    return bool(pair_signals(signals))


def banks(workspace: Workspace) -> str:
    """Raises NotFoundError where the file of queries is missing."""
    decided = _output(workspace, "decisions"), _outputs(workspace, "vectors")
    return _key("banks", *decided, draw(workspace))


def draw(workspace: Workspace) -> str:
    """What banks are drawn by.

    Does not depend on the query log, which never stays the same: a refit draws from it anew.
    """
    space, corrections = corpus_space(workspace), workspace.config.corrections
    queries: list[Any] = []
    if corrections.queries is not None:
        stat = (path := queries_file(workspace)).stat()
        queries = [_content(path, stat.st_size, stat.st_mtime_ns)]
        queries.append(workspace.config.limits.model_dump())
    return _key(
        "banks",
        str(schema.banks(1)),
        space.name,
        {m: space.fingerprint(m) for m in sorted(space.towers)},
        corrections.model_dump(exclude={"methods", "directions", "drift_bound"}),
        queries,
    )


def gallery(workspace: Workspace) -> str:
    return _key(
        "gallery",
        str(schema.gallery(1)),
        _output(workspace, "decisions"),
        _outputs(workspace, "vectors"),
        fit(workspace),
    )


def fit(workspace: Workspace) -> str:
    """What a gallery's corrections depend on: with this unchanged, those that stand still hold."""
    space, corrections = corpus_space(workspace), workspace.config.corrections
    return _key(
        "gallery",
        _output(workspace, "banks"),
        {m: space.fingerprint(m) for m in sorted(space.towers)},
        corrections.model_dump(exclude=_OF_BANKS),
    )


# What the gallery learns from the banks' output, and what concerns neither.
_OF_BANKS = {"query_bank", "queries", "bank_rows", "bank_share", "test_share", "drift_bound"}


def queries_file(workspace: Workspace) -> Path:
    """The file that `corrections.queries` names; relative paths start at the corpus's folder.

    Raises NotFoundError where there is none.
    """
    named = workspace.config.corrections.queries or ""
    path = (workspace.root / Path(named).expanduser()).resolve()
    if not path.is_file():
        raise NotFoundError(f"corrections.queries: there is no file {path}")
    return path


@cache
def _content(path: Path, size: int, changed_ns: int) -> str:
    """Digest of a file's bytes, read again when its size or time has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def release(workspace: Workspace) -> str:
    return _key("release", _output(workspace, "gallery"))


def _key(stage: str, *facts: Any) -> str:
    return identity.run_key(stage, VERSIONS[stage], *facts)


def _output(workspace: Workspace, stage: str, drop: str = EVERY_DROP) -> str:
    found = record(workspace.tables, stage, drop)
    if found is None:
        what = f"drop {drop!r}" if drop != EVERY_DROP else "the corpus"
        raise NotFoundError(f"{what} has no {stage} yet; `isotrope run` makes them")
    return found["output"]


def _outputs(workspace: Workspace, stage: str) -> list[tuple[str, str]]:
    """(drop, output) of a stage over all drops, in order."""
    stages = workspace.tables.scan(
        "stages", schema.STAGES, ["drop", "output"], f"stage = '{stage}'"
    )
    return sorted((s["drop"], s["output"]) for s in stages.to_pylist())
