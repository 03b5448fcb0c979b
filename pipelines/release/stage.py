"""Make a release: evaluate the current tables together, tag their versions and list them."""

from embedders.corpus_space import space_config
from pipelines.gallery.fitted_directions import read_fitted
from pipelines.policy.row_rules import policy_hash
from pipelines.release.evaluate import evaluate_directions, harmed_directions
from pipelines.release.languages import read_translated
from pipelines.release.last_tallies import LastTallies
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.tables import releases, schema
from store.tables.banks import Banks, check_encoders, describe_banks
from store.tables.indexes import read_indexes
from store.tables.names import bank_table, directions_table, gallery_table
from store.tables.releases import Release
from store.tables.staging import Counts, begin, publish
from store.tables.table_version import TableVersion

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
        versions = {name: tables.version(name) for name in names}
        galleries = {m: TableVersion(tables, n, versions[n]) for m, n in gallery_names.items()}
        bank_dataset = tables.open(bank_name, version=versions[bank_name])
        banks = Banks(bank_dataset)
        fingerprints = context.fingerprints
        check_encoders(banks, fingerprints)
        dim = banks.table.schema.field("vector").type.list_size
        directions = {name: f.direction for name, f in read_fitted(tables, space.name).items()}
        translated = read_translated(tables, banks, space)
        address = context.config.engine.ray.address
        banks_version = TableVersion(tables, bank_name, versions[bank_name])
        last = LastTallies(tables, space.name, banks_version, used=not context.forced)
        figures = evaluate_directions(galleries, banks, directions, dim, translated, address, last)
        if harmed := harmed_directions(figures):
            for name in harmed:
                method = directions[name].method
                reason = f"{method} was chosen on validation pairs but did harm on test pairs"
                directions[name] = directions[name].raw(reason)
            raw = {name: directions[name] for name in harmed}
            figures |= evaluate_directions(galleries, banks, raw, dim, translated, address, last)
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
                    indexes=read_indexes(tables, space.name),
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
