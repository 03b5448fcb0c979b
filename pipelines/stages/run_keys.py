"""Run keys: one hash of everything that a stage's output depends on.

A stage whose recorded key differs from its current key is out of date. A stage depends on its
inputs through their recorded `output`: a drop that is read again with equal content makes no later
stage run again. Each function of `KEYS` computes the key of the stage it is named after, and raises
NotFoundError if an input has not been made yet. Light to import: it runs before any work.
"""

from collections.abc import Callable
from typing import Any

from pipelines.policy.cascade import predictable
from pipelines.policy.concepts import concepts_file
from pipelines.policy.row_rules import (
    hash_of_tests,
    pair_signals,
    policy_hash,
    prefilter,
    row_tests,
)
from pipelines.sources.drops import listing_hash
from pipelines.stages.chosen_key import chosen_key
from pipelines.stages.config_files import pair_head, queries_file
from pipelines.stages.context import StageContext
from pipelines.stages.scorer_versions import scorer_versions
from store import identity
from store.config.rules import IMAGENET
from store.errors import NotFoundError
from store.tables import schema
from store.tables.signals import SCORERS
from store.tables.stages import EVERY_DROP, STAGES
from store.workspace import Workspace

# Scorers from when fingerprints were measured without being needed.
_ONCE_ALWAYS_MEASURED = "image_copies", "audio_fingerprint"


def samples(context: StageContext) -> str:
    """The run key of `samples`.

    Raises:
        InputError: the context has the drop's name without its files.
    """
    drop = context.delivery
    settings: list[Any] = [context.config.limits.model_dump(), drop.columns.model_dump()]
    if drop.name_captions:  # left out otherwise: corpora from before the option stay up to date
        settings.append("captions from names")
    if drop.documents is not None:
        settings.append(drop.documents.model_dump())
    if drop.videos is not None:
        settings.append(drop.videos.model_dump())
    return _key("samples", str(schema.SAMPLES), drop.name, listing_hash(drop), *settings)


def signals(context: StageContext) -> str:
    """The run key of `signals`."""
    drop = context.drop_name
    output = _output(context, "samples", drop)
    used, policy = scorer_versions(context.workspace), context.config.policy
    # The key names these scorers of fingerprints, so that corpora stay up to date that were made
    # when fingerprints were always measured, and then the ones that are needed.
    once = {n: str(s.version) for n, s in SCORERS.items() if n in _ONCE_ALWAYS_MEASURED}
    unused = {name: version for name, version in once.items() if name not in used}
    settings: list[Any] = [needed] if (needed := context.config.fingerprint_scorers()) else []
    if (cascade := policy.cascade) is not None:
        settings += [cascade.model_dump(), hash_of_tests(prefilter(policy)), predictable(policy)]
    return _key("signals", schema.key_text(schema.SIGNALS), drop, output, used | unused, *settings)


def vectors(context: StageContext) -> str:
    """The run key of `vectors`.

    Raises:
        NotAlignedError: a tower has no projection yet.
    """
    output, more = vectors_output(context), _optional(context, "late", "moments")
    return _key("vectors", output, *more) if more else output


def vectors_output(context: StageContext) -> str:
    """The output of `vectors`, without token vectors and moments, whose sections are in later keys.

    Raises:
        NotAlignedError: a tower has no projection yet.
    """
    drop = context.drop_name
    return _key(
        "vectors",
        drop,
        _output(context, "samples", drop),
        _output(context, "signals", drop),
        hash_of_tests(prefilter(context.config.policy)),
        context.space.name,
        context.fingerprints,
        # Corpora stay up to date that were made before these settings.
        *([] if context.config.vectors == "float32" else [context.config.vectors]),
        *chosen_key(context),
    )


def pairs(context: StageContext) -> str:
    """The run key of `pairs`.

    Raises:
        NotFoundError: there are no vectors yet, or the file of the linear head is missing.
    """
    embedded = _outputs(context, "vectors")
    if not embedded:
        raise NotFoundError("the corpus has no vectors yet; `isotrope run` makes them")
    return _key("pairs", _outputs(context, "samples"), embedded, pair_settings(context))


def duplicates(context: StageContext) -> str:
    """The run key of `duplicates`.

    Raises:
        SourceError: an evaluation set that corpus.yaml names is missing.
    """
    config = context.config
    evaluation_sets = []
    if config.decontaminate:
        # Imports the media decoders, which a corpus without evaluation sets need not load.
        from pipelines.sources.evaluation_files import evaluation_listing_hash

        evaluation_sets = [
            (e.name, evaluation_listing_hash(context.workspace, e)) for e in config.decontaminate
        ]
    return _key(
        "duplicates",
        str(schema.DUPLICATES),
        _outputs(context, "samples"),
        _outputs(context, "signals"),
        _outputs(context, "vectors") if config.duplicates.semantic is not None else [],
        hash_of_tests(row_tests(config.policy)),
        _output(context, "pairs") if names_pairs(context.workspace, "duplicates") else None,
        config.duplicates.key(),
        evaluation_sets,
    )


def decisions(context: StageContext) -> str:
    """The run key of `decisions`."""
    return _key(
        "decisions",
        schema.key_text(schema.DECISIONS),
        _outputs(context, "signals"),
        _output(context, "duplicates"),
        policy_hash(context.config.policy),
        _output(context, "pairs") if names_pairs(context.workspace, "decisions") else None,
        *_concepts(context.workspace),
        # Corpora stay up to date whose policy compares no vectors.
        *([_outputs(context, "vectors")] if context.config.policy.compares_vectors else []),
    )


def banks(context: StageContext) -> str:
    """The run key of `banks`.

    Raises:
        NotFoundError: the file of queries is missing.
    """
    inputs = _output(context, "decisions"), _outputs(context, "vectors")
    return _key("banks", *inputs, bank_settings(context))


def gallery(context: StageContext) -> str:
    """The run key of `gallery`."""
    return _key(
        "gallery",
        str(schema.gallery(1)),
        _output(context, "decisions"),
        _outputs(context, "vectors"),
        fit_settings(context),
        *_optional(context, "moments"),
    )


def index(context: StageContext) -> str:
    """The run key of `index`."""
    return _key("index", _output(context, "gallery"), context.config.index.model_dump())


def release(context: StageContext) -> str:
    """The run key of `release`."""
    # Corpora stay up to date that have no bridge.
    more = [context.query_fingerprints] if context.space.bridged else []
    more += _optional(context, "late")
    return _key("release", _output(context, "gallery"), _output(context, "index"), *more)


KEYS: dict[str, Callable[[StageContext], str]] = {
    "samples": samples,
    "signals": signals,
    "vectors": vectors,
    "pairs": pairs,
    "duplicates": duplicates,
    "decisions": decisions,
    "banks": banks,
    "gallery": gallery,
    "index": index,
    "release": release,
}


def pair_settings(context: StageContext) -> str:
    """A hash of what the signals of pairs depend on beside the vectors."""
    head = []
    if (path := pair_head(context.workspace)) is not None:
        head = [identity.file_digest(path).hex()]
    settings = context.config.pairs
    unused = [name for name in ("mismatch", "repair", "sentinels") if not getattr(settings, name)]
    return _key(
        "pairs",
        schema.key_text(schema.PAIRS),
        context.space.name,
        context.fingerprints,
        settings.model_dump(exclude={"image_laion_aesthetic", *unused}),
        head,
    )


def names_pairs(workspace: Workspace, stage: str) -> bool:
    """Whether the part of the policy that `stage` applies names a signal of pairs.

    `decisions` applies the whole policy; `duplicates` applies its rules of single samples.
    """
    policy = workspace.config.policy
    if stage == "decisions":
        return bool(pair_signals(policy.columns()))
    return bool(pair_signals([test.signal for test in row_tests(policy)]))


def _concepts(workspace: Workspace) -> list[str]:
    """A digest of the list of concepts that the policy names, if it is a file."""
    concepts = workspace.config.policy.concepts
    if concepts is None or concepts.names == IMAGENET:
        return []
    return [identity.file_digest(concepts_file(workspace, concepts)).hex()]


def bank_settings(context: StageContext) -> str:
    """A hash of what the banks depend on beside their inputs.

    Does not depend on the query log, which always changes: a refit draws from it again.
    """
    corrections = context.config.corrections
    queries: list[Any] = []
    if corrections.queries is not None:
        queries = [identity.file_digest(queries_file(context.workspace)).hex()]
        queries.append(context.config.limits.model_dump())
    return _key(
        "banks",
        str(schema.banks(1)),
        context.space.name,
        context.fingerprints,
        corrections.model_dump(exclude={"methods", "directions", "drift_bound"}),
        queries,
        # Corpora stay up to date that have no bridge.
        *([context.query_fingerprints] if context.space.bridged else []),
    )


# Settings that change the output of `banks`, which is hashed, or that do not change a fit.
_NOT_IN_FIT = {"query_bank", "queries", "bank_rows", "bank_share", "test_share", "drift_bound"}


def fit_settings(context: StageContext) -> str:
    """A hash of what the corrections depend on. While it is equal, fitted values stay valid."""
    return _key(
        "gallery",
        _output(context, "banks"),
        context.fingerprints,
        context.config.corrections.model_dump(exclude=_NOT_IN_FIT),
        *_optional(context, "words"),
    )


def _optional(context: StageContext, *names: str) -> list[dict[str, Any]]:
    """Those of some sections that corpus.yaml has. Without one, keys are as before it existed."""
    sections = (getattr(context.config, name) for name in names)
    return [section.model_dump() for section in sections if section is not None]


def _key(stage: str, *inputs: Any) -> str:
    return identity.run_key(stage, STAGES[stage].version, *inputs)


def _output(context: StageContext, stage: str, drop: str = EVERY_DROP) -> str:
    done = context.records.get(context.name_of(stage), drop)
    if done is None:
        owner = f"drop {drop!r}" if drop != EVERY_DROP else "the corpus"
        raise NotFoundError(f"{owner} has no {stage} yet; `isotrope run` makes them")
    return done["output"]


def _outputs(context: StageContext, stage: str) -> list[tuple[str, str]]:
    return context.records.outputs(context.name_of(stage))
