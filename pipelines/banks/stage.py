"""banks: pairs set aside to fit corrections on (bank), to choose among them (validation) and to
test the choice (test), and the queries of other origin that corpus.yaml's `query_bank` names.

Which split a cluster falls into, and which pairs are taken where there are more than enough, is
decided by a hash of the cluster and the seed: fixed samples that do not depend on arrival.
"""

import lance
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.banks import reuse
from pipelines.banks.corpus_matches import CorpusIndex
from pipelines.banks.query_files import Queries
from pipelines.banks.query_origins import draw, read_origins
from pipelines.decisions.kept_samples import kept_samples
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.config.corrections import Corrections
from store.identity import uniform
from store.tables import schema
from store.tables.banks import LEAST_BANK, digest
from store.tables.lance_tables import quote, take
from store.tables.names import bank_table, vectors_table
from store.tables.staging import Counts, begin, publish

STAGE = "banks"
SPLITS = ("bank", "validation", "test")
_QUERY_ROWS = 5_000  # validation and test: beyond that the intervals hardly narrow


def draw_banks(context: StageContext) -> Counts:
    """Make the `banks__{space}` table. The last draw is reused where that is still possible
    (`pipelines.banks.reuse`), unless the run is forced.

    Counted are samples, kept where a pair of theirs is in some split, and queries of other origin.
    A bank that was drawn anew and came out the same makes nothing after it out of date.

    Raises:
        NotFoundError: there is no file of queries.
        InputError, ConfigError: it is not what its suffix says.
        EncoderError: its vectors, or all that were logged, are not of this space and its encoders.
    """
    workspace, tables, space = context.workspace, context.tables, context.space
    settings, key = context.config.corrections, run_keys.banks(context)
    vectors = tables.open(vectors_table(space.name))
    columns = schema.banks(vectors.schema.field("vector").type.list_size)
    fingerprints = context.fingerprints
    with begin(tables, STAGE, key, columns) as run:
        resumed = len(run.done())
        samples = kept_samples(workspace)
        row_of = _embedded(vectors, fingerprints)
        chosen = _choose(_paired(samples, row_of, list(fingerprints)), settings)
        name, draw_key = bank_table(space.name), run_keys.bank_settings(context)
        last = reuse.last_banks(tables, name) if not context.forced else None
        full = reuse.hold(last, draw_key, samples, len(chosen["bank"]))
        origins: list[Queries] = []
        if full is None:
            corpus = _corpus_rows(chosen, vectors, row_of, fingerprints, columns, draw_key)
            held_out = {s["cluster"] for split in SPLITS[1:] for s in chosen[split]}
            known = CorpusIndex(samples, vectors, fingerprints, frozenset(held_out))
            origins = read_origins(context, columns.field("vector").type.list_size)
            drawn = (draw(context, run, known, origin) for origin in origins)
            asked = pa.concat_tables([columns.empty_table(), *drawn])
            joining = _joining(corpus, asked, always="corpus" in settings.query_bank)
            full = pa.concat_tables([corpus, asked, joining])
        of_corpus = full.filter(pc.is_in(full["split"], value_set=pa.array(SPLITS)))
        pairs = len(pc.unique(of_corpus["sample_id"]))
        queries = sum(o.input - o.rejected - o.failed for o in origins)
        return publish(
            tables,
            run,
            counts=Counts(
                input=samples.num_rows + sum(o.input for o in origins),
                kept=pairs + queries,
                rejected=samples.num_rows - pairs + sum(o.rejected for o in origins),
                failed=sum(o.failed for o in origins),
            ),
            entries=[entry for o in origins for entry in o.entries],
            write=lambda: tables.replace(name, columns, full.to_batches(), None),
            output=lambda: digest(full),
            resumed=resumed,
        )


def _embedded(vectors: lance.LanceDataset, fingerprints: dict[str, str]) -> dict[str, int]:
    """The row of each part's vector, of those that today's encoders made."""
    made = " OR ".join(
        f"(modality = {quote(m)} AND encoder = {quote(f)})" for m, f in fingerprints.items()
    )
    known = vectors.to_table(columns=["part_id"], filter=made, with_row_id=True)
    return dict(zip(known["part_id"].to_pylist(), known["_rowid"].to_pylist(), strict=True))


def _paired(samples: pa.Table, row_of: dict[str, int], modalities: list[str]) -> list[dict]:
    """Samples of which at least two parts are embedded."""
    return [
        s
        for s in samples.select(["id", "cluster", *(f"{m}_id" for m in modalities)]).to_pylist()
        if sum(s[f"{m}_id"] in row_of for m in modalities) >= 2
    ]


def _choose(paired: list[dict], settings: Corrections) -> dict[str, list[dict]]:
    """Pairs by split, each split's clusters in the order of their hashes."""
    drawn: dict[str, list[tuple[float, str, dict]]] = {s: [] for s in SPLITS}
    for sample in paired:
        share = uniform(sample["cluster"], settings.seed)
        if share < settings.bank_share:
            split = "bank"
        elif share < 1 - settings.test_share:
            split = "validation"
        else:
            split = "test"
        drawn[split].append((share, sample["id"], sample))
    limits = {"bank": settings.bank_rows, "validation": _QUERY_ROWS, "test": _QUERY_ROWS}
    return {
        split: [s for _, _, s in sorted(members, key=lambda m: m[:2])[: limits[split]]]
        for split, members in drawn.items()
    }


def _corpus_rows(
    chosen: dict[str, list[dict]],
    vectors: lance.LanceDataset,
    row_of: dict[str, int],
    fingerprints: dict[str, str],
    columns: pa.Schema,
    draw_key: str,
) -> pa.Table:
    """A row for every embedded part of the chosen samples."""
    rows = [
        {
            "split": split,
            "modality": m,
            "part_id": s[f"{m}_id"],
            "sample_id": s["id"],
            "cluster": s["cluster"],
            "origin": "corpus",
            "encoder": fingerprint,
            "draw": draw_key,
        }
        for split, members in chosen.items()
        for s in members
        for m, fingerprint in fingerprints.items()
        if s[f"{m}_id"] in row_of
    ]
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(columns)[:-1]))
    places = [row_of[part] for part in table["part_id"].to_pylist()]
    taken = take(vectors.uri, vectors.version, places, ["vector"])["vector"].combine_chunks()
    return table.append_column(columns.field("vector"), taken).cast(columns)


def _joining(corpus: pa.Table, asked: pa.Table, *, always: bool) -> pa.Table:
    """The corpus's own bank once more as queries, where it is to join those of other origin."""
    queries = asked.filter(pc.equal(asked["split"], "queries"))
    counts = {
        row["values"]: row["counts"] for row in pc.value_counts(queries["modality"]).to_pylist()
    }
    few = [m for m, count in counts.items() if always or count < LEAST_BANK]
    bank = corpus.filter(
        pc.and_(
            pc.equal(corpus["split"], "bank"),
            pc.is_in(corpus["modality"], value_set=pa.array(few, pa.string())),
        )
    )
    place = corpus.schema.get_field_index("split")
    return bank.set_column(
        place, corpus.field("split"), pa.array(["queries"] * bank.num_rows, pa.string())
    )
