"""Make a release: evaluate the current tables together, tag their versions and list them."""

from dataclasses import replace
from typing import Any

from embedders.corpus_space import space_config
from pipelines.gallery.fitted_directions import read_fitted
from pipelines.policy.row_rules import policy_hash
from pipelines.release.evaluate import evaluate_directions, harmed_directions
from pipelines.release.item_words import measure_words
from pipelines.release.kept_choices import kept_choices, kept_part_weights
from pipelines.release.languages import TranslatedQueries, read_translated
from pipelines.release.last_tallies import LastTallies
from pipelines.release.part_weights import learn_part_weights
from pipelines.release.query_tokens import add_query_tokens
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store import identity
from store.tables import releases, schema
from store.tables.banks import Banks, check_encoders, describe_banks
from store.tables.direction import Direction
from store.tables.indexes import read_indexes
from store.tables.names import (
    bank_table,
    directions_table,
    gallery_table,
    moments_table,
    tokens_table,
)
from store.tables.releases import Release
from store.tables.row_difference import content
from store.tables.stages import STAGES
from store.tables.staging import Counts, begin, publish
from store.tables.table_version import TableVersion
from store.tables.words import ItemWords, read_words

STAGE = "release"


def make_release(context: StageContext) -> Release:
    """Evaluate the galleries on test pairs and publish them as the newest release.

    A direction whose correction does harm on the test pairs is released raw, and says so as its
    reason; the release is then evaluated again.

    Raises:
        NotFoundError: a table of the release has not been made yet.
        EncoderError: the banks hold vectors of other encoders.
    """
    workspace, tables, space = context.workspace, context.tables, context.space
    key = run_keys.release(context)
    with begin(
        tables, context.name_of(STAGE), key, schema.RELEASES
    ) as run:  # its time includes the evaluation
        gallery_names = {m: gallery_table(space.name, m) for m in sorted(space.towers)}
        bank_name = bank_table(space.name)
        names = [*gallery_names.values(), bank_name, directions_table(space.name), "decisions"]
        if context.config.late is not None:
            add_query_tokens(context, Banks(tables.open(bank_name)))
            names += filter(tables.exists, (tokens_table(space.name, m) for m in gallery_names))
        if context.config.moments is not None:
            moments = (moments_table(space.name, m) for m in context.config.moments.options)
            names += filter(tables.exists, moments)
        versions = {name: tables.version(name) for name in names}
        galleries = {m: TableVersion(tables, n, versions[n]) for m, n in gallery_names.items()}
        bank_dataset = tables.open(bank_name, version=versions[bank_name])
        banks = Banks(bank_dataset)
        fingerprints = context.fingerprints
        check_encoders(banks, fingerprints, context.query_fingerprints)
        dim = bank_dataset.schema.field("vector").type.list_size
        directions = {name: f.direction for name, f in read_fitted(tables, space.name).items()}
        translated = read_translated(tables, banks, space)
        address = context.config.engine.ray.address
        earlier = [each for each in releases.list_releases(tables) if each.space == space.name]
        before = earlier[-1] if earlier and not context.forced else None
        banks_version = TableVersion(tables, bank_name, versions[bank_name])
        last = LastTallies(tables, space.name, banks_version, used=not context.forced)
        inputs = content(bank_dataset), dim, _digests(translated)

        def evaluate(chosen: dict[str, Direction]) -> dict[str, Any]:
            """The figures of directions; those of the last release if their inputs are the same."""
            keys = {
                name: _evaluation_key(direction, galleries[direction.gallery], inputs)
                for name, direction in chosen.items()
            }
            known = {} if before is None else before.evaluation
            same = {n for n, key in keys.items() if known.get(n, {}).get("inputs") == key}
            others = {name: direction for name, direction in chosen.items() if name not in same}
            made = evaluate_directions(galleries, banks, others, dim, translated, address, last)
            made = {name: figures | {"inputs": keys[name]} for name, figures in made.items()}
            return {n: known[n] if n in same else made[n] for n in chosen if n in {*same, *made}}

        figures = evaluate(directions)
        if harmed := harmed_directions(figures):
            for name in harmed:
                method = directions[name].method
                reason = f"{method} was chosen on validation pairs but did harm on test pairs"
                directions[name] = directions[name].raw(reason)
            figures |= evaluate({name: directions[name] for name in harmed})
        words = read_words(tables, space.name)
        if words is not None and context.config.words is not None:
            _add_words(figures, directions, galleries, banks, words)
        for name, number in kept_choices(before, directions).items():
            if name in figures:
                figures[name]["choice_kept_from"] = number
        indexes = read_indexes(tables, space.name)
        part_weights = kept_part_weights(before, directions, galleries)
        if part_weights is None:
            opened = {m: gallery.open() for m, gallery in galleries.items()}
            part_weights = learn_part_weights(opened, banks, directions, indexes)
        published: list[Release] = []

        def write() -> None:
            published.append(
                releases.publish(
                    tables,
                    space=space.name,
                    space_config=space_config(workspace),
                    dim=dim,
                    fingerprints=fingerprints,
                    banks=describe_banks(bank_dataset),
                    versions=versions,
                    directions=directions,
                    evaluation=figures,
                    policy=policy_hash(workspace.config.policy),
                    indexes=indexes,
                    part_weights=part_weights,
                )
            )
            last.write()

        rows = sum(gallery.open().count_rows() for gallery in galleries.values())
        publish(
            tables,
            run,
            counts=Counts(rows, rows),
            entries=[],
            write=write,
            output=lambda: key,
        )
    return published[0]


def _add_words(
    figures: dict[str, Any],
    directions: dict[str, Direction],
    galleries: dict[str, TableVersion],
    banks: Banks,
    words: ItemWords,
) -> None:
    """Add the figures of the words of items, and say which directions adopted them."""
    missing = {n: d for n, d in directions.items() if "words" not in figures.get(n, {})}
    opened = {m: gallery.open() for m, gallery in galleries.items()}
    for name, measured in measure_words(opened, banks, missing, words).items():
        figures.setdefault(name, {})["words"] = measured
    for name, each in figures.items():
        if each.get("words", {}).get("adopted"):
            directions[name] = replace(directions[name], words=True)


def _evaluation_key(direction: Direction, gallery: TableVersion, inputs: tuple) -> str:
    """A hash of everything that the figures of a direction depend on."""
    version = STAGES[STAGE].version
    return identity.run_key(STAGE, version, vars(direction), content(gallery.open()), *inputs)


def _digests(translated: TranslatedQueries) -> list[tuple[str, str, str]]:
    """Language, part and a hash of the vector of each translation."""
    return sorted(
        (language, part, identity.run_key(vector.tobytes().hex()))
        for language, vectors in translated.items()
        for part, vector in vectors.items()
    )
