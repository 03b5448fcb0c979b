"""release: the versions that belong together, evaluated, tagged and listed."""

from embedders.corpus_space import space_config
from pipelines.gallery.fitted_directions import read_fitted
from pipelines.policy.row_rules import policy_hash
from pipelines.release.evaluate import evaluate, harmed
from pipelines.release.languages import read_translated
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.tables import releases, schema
from store.tables.banks import Banks, check_encoders, describe
from store.tables.names import bank_table, directions_table, gallery_table
from store.tables.releases import Release
from store.tables.staging import Counts, begin, publish

STAGE = "release"


def make_release(context: StageContext) -> Release:
    """Evaluate the galleries on test pairs and publish them as the newest release.

    A direction that does harm on the test pairs is released raw, and its reason says so.
    """
    workspace, tables, space = context.workspace, context.tables, context.space
    key = run_keys.release(context)
    names = [
        *(gallery_table(space.name, m) for m in sorted(space.towers)),
        bank_table(space.name),
        directions_table(space.name),
        "decisions",
    ]
    versions = {name: tables.version(name) for name in names}
    galleries = {
        m: tables.open(gallery_table(space.name, m), version=versions[gallery_table(space.name, m)])
        for m in sorted(space.towers)
    }
    drawn = tables.open(bank_table(space.name), version=versions[bank_table(space.name)])
    banks, named = Banks(drawn.to_table()), describe(drawn)
    fingerprints = context.fingerprints
    check_encoders(banks, fingerprints)
    dim = banks.table.schema.field("vector").type.list_size
    directions = {n: s.direction for n, s in read_fitted(tables, space.name).items()}
    spoken = read_translated(tables, banks, space)
    figures = evaluate(galleries, banks, directions, dim, spoken)
    for name in harmed(figures):
        way = directions[name]
        reason = f"{way.method} was chosen on validation pairs but did harm on test pairs"
        directions[name] = way.raw(reason)
    if harmed(figures):
        figures = evaluate(galleries, banks, directions, dim, spoken)
    published: list[Release] = []

    def write() -> None:
        published.append(
            releases.publish(
                tables,
                space=space.name,
                space_config=space_config(workspace),
                dim=dim,
                fingerprints=fingerprints,
                banks=named,
                versions=versions,
                directions=directions,
                evaluation=figures,
                policy=policy_hash(workspace.config.policy),
            )
        )

    with begin(tables, STAGE, key, schema.RELEASES) as run:
        rows = sum(g.count_rows() for g in galleries.values())
        publish(
            tables,
            run,
            counts=Counts(rows, rows),
            entries=[],
            write=write,
            output=lambda: key,
        )
    return published[0]
