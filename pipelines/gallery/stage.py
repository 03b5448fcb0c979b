"""gallery: what search reads, with the chosen corrections compiled into it (Ray).

Choosing and fitting happen when banks or settings change. Parts that come later get their values
from the corrections as they stand, and the others keep theirs: adding rows costs what they cost.
"""

from collections.abc import Iterable

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from embedders.pool.ray_cluster import cluster, require
from pipelines.banks.labelled_queries import Gallery
from pipelines.decisions.kept_samples import kept_samples
from pipelines.gallery import k_occurrence
from pipelines.gallery.choose_correction import choose, fit_spec
from pipelines.gallery.fit import FitSpecs, Rows
from pipelines.gallery.fitted_directions import (
    FittedDirection,
    forget_fitted,
    read_fitted,
    write_fitted,
)
from pipelines.gallery.parts import gallery_parts
from pipelines.gallery.rows import Compiled, TableVersion, gallery_rows
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.config.corrections import Corrections
from store.errors import NotFoundError
from store.tables import schema
from store.tables.banks import Bank, Banks, check_encoders
from store.tables.lance_tables import Tables, one_of
from store.tables.names import bank_table, gallery_table, vectors_table
from store.tables.releases import Direction
from store.tables.staging import Counts, begin, publish

STAGE = "gallery"
MOST_ITEMS = 10_000  # rows that a choice is made on, beside those of the pairs


def build_gallery(context: StageContext) -> Counts:
    """Make the galleries of the space's modalities. Counted are parts of kept samples."""
    tables, space = context.tables, context.space
    key = run_keys.gallery(context)
    vectors = tables.open(vectors_table(space.name))
    dim = vectors.schema.field("vector").type.list_size
    modalities = sorted(space.towers)
    with (
        begin(tables, STAGE, key, schema.gallery(dim)) as run,
        cluster(context.config.engine.ray.address),
    ):
        require(1, 1, context.config.engine.ray.num_gpus)
        samples = kept_samples(context.workspace)
        parts = {m: gallery_parts(context, m, samples) for m in modalities}
        stands = _stands(context, vectors, parts)
        wanted = sum(
            len(pc.unique(pc.drop_null(samples[f"{m}_id"].combine_chunks()))) for m in modalities
        )

        def write() -> None:
            before = read_fitted(tables, space.name)
            forget_fitted(tables, space.name)
            for modality in modalities:
                _write(context, modality, parts[modality], vectors, stands, before)
            write_fitted(tables, space.name, stands.values())

        return publish(
            tables,
            run,
            counts=Counts(
                wanted,
                sum(p.num_rows for p in parts.values()),
                failed=_never_embedded(tables, samples, modalities),
            ),
            entries=[],
            write=write,
            output=lambda: key,
        )


def _stands(
    context: StageContext, vectors: lance.LanceDataset, parts: dict[str, pa.Table]
) -> dict[str, FittedDirection]:
    """How each direction stands: as it stood, where it was fitted on the same banks and by the
    same settings, else chosen anew."""
    tables, space = context.tables, context.space
    dataset = tables.open(bank_table(space.name))
    fit_key = run_keys.fit_settings(context)
    known = read_fitted(tables, space.name)
    names = [f"{query}->{searched}" for query in parts for searched in parts]
    if all(n in known and known[n].fit_key == fit_key for n in names):
        return {n: known[n]._replace(banks_version=dataset.version) for n in names}
    banks = Banks(dataset.to_table())
    check_encoders(banks, context.fingerprints)
    shared, settings = ray.put(banks), context.config.corrections
    replies = {}
    for searched, listed in parts.items():
        gallery = ray.put(_sample(vectors, listed, banks, settings.seed))
        for query in parts:
            reply = _choose.remote(shared, query, searched, gallery, settings)
            replies[f"{query}->{searched}"] = reply
    choices = dict(zip(replies, ray.get(list(replies.values())), strict=True))
    stands = {}
    for searched, listed in parts.items():
        asked = {
            q: k_occurrence.counted_queries(Bank(*banks.queries(q)), q == searched)
            for q in parts
            if len(banks.queries(q)[0])
        }
        floors = k_occurrence.with_floors(_rows(vectors, listed), asked)
        for query in parts:
            name = f"{query}->{searched}"
            floor = floors[query].floor if query in floors else None
            stands[name] = FittedDirection(choices[name], fit_key, dataset.version, floor)
    return stands


@ray.remote
def _choose(
    banks: Banks, query: str, searched: str, gallery: Gallery, settings: Corrections
) -> Direction:
    return choose(banks, query, searched, gallery, settings)


def _sample(vectors: lance.LanceDataset, parts: pa.Table, banks: Banks, seed: int) -> Gallery:
    """The rows of a gallery that a choice is made on: the pairs' own, and others at random."""
    validation = banks.table.filter(pc.equal(banks.table["split"], "validation"))
    own = pc.is_in(parts["cluster"], value_set=pc.unique(validation["cluster"].combine_chunks()))
    own = own.combine_chunks().to_numpy(zero_copy_only=False)
    others = np.flatnonzero(~own)
    if len(others) > MOST_ITEMS:
        others = np.random.default_rng(seed).choice(others, MOST_ITEMS, replace=False)
    listed = parts.take(pa.array(np.sort(np.concatenate([np.flatnonzero(own), others]))))
    return Gallery(
        _rows(vectors, listed).vectors(),
        listed["cluster"].to_numpy(zero_copy_only=False).astype(str),
        listed["part_id"].to_numpy(zero_copy_only=False).astype(str),
    )


def _rows(vectors: lance.LanceDataset, parts: pa.Table) -> Rows:
    return Rows(
        vectors.uri,
        vectors.version,
        parts["vector_row"].to_numpy(),
        parts["cluster"].to_numpy(zero_copy_only=False).astype(str),
    )


def _write(
    context: StageContext,
    modality: str,
    parts: pa.Table,
    vectors: lance.LanceDataset,
    stands: dict[str, FittedDirection],
    before: dict[str, FittedDirection],
) -> None:
    """Publish one gallery."""
    tables, space = context.tables, context.space
    name = gallery_table(space.name, modality)
    dim = vectors.schema.field("vector").type.list_size
    banks = Banks(tables.open(bank_table(space.name)).to_table())
    mine = {s.direction.query: s for s in stands.values() if s.direction.gallery == modality}
    ways = {
        q: fit_spec(banks, s.direction) for q, s in mine.items() if s.direction.method != "none"
    }
    asked = {
        q: k_occurrence.counted_queries(Bank(*banks.queries(q)), q == modality)._replace(
            floor=s.floor
        )
        for q, s in mine.items()
        if s.floor is not None
    }
    centre = {q: s.direction.centre for q, s in mine.items()}
    compiled = Compiled(modality, dim, FitSpecs.of(ways), centre, asked)
    last = tables.open(name) if tables.exists(name) else None
    still = all(
        n in before and before[n].fit_key == s.fit_key
        for n, s in stands.items()
        if s.direction.gallery == modality
    )
    unstable = _changed_clusters(tables, space.name, before, banks) if still else None
    rows = gallery_rows(
        _with_last(parts, last, unstable),
        compiled,
        TableVersion(vectors.uri, vectors.version),
        TableVersion(tables.uri("samples"), tables.version("samples")),
        None if last is None else TableVersion(last.uri, last.version),
        num_gpus=context.config.engine.ray.num_gpus,
    )
    tables.replace(name, compiled.schema, rows, None)


def _with_last(
    parts: pa.Table, last: lance.LanceDataset | None, unstable: set[str] | None
) -> pa.Table:
    """`parts` with `last_row` and `same`, as `gallery_rows` takes them. Fitted values hold where
    the cluster is the same and was not joined with another; `unstable` is None where none hold."""
    known: dict[str, tuple[int, str]] = {}
    if last is not None:
        seen = last.to_table(columns=["part_id", "cluster"], with_row_id=True)
        columns = (seen[c].to_pylist() for c in ("part_id", "_rowid", "cluster"))
        known = {part: (row, cluster) for part, row, cluster in zip(*columns, strict=True)}
    found = [known.get(part) for part in parts["part_id"].to_pylist()]
    same = [
        unstable is not None and was is not None and was[1] == now and now not in unstable
        for was, now in zip(found, parts["cluster"].to_pylist(), strict=True)
    ]
    rows = [None if was is None else was[0] for was in found]
    parts = parts.append_column("last_row", pa.array(rows, pa.uint64()))
    return parts.append_column("same", pa.array(same, pa.bool_()))


def _changed_clusters(
    tables: Tables, space: str, before: dict[str, FittedDirection], banks: Banks
) -> set[str] | None:
    """The clusters that hold other rows of the banks than when the last gallery was fitted; None
    where the banks of then are gone."""
    version = next(iter(before.values())).banks_version
    columns = ["modality", "part_id", "cluster"]
    try:
        then = tables.open(bank_table(space), version).to_table(columns)
    except NotFoundError:
        return None
    old, new = (
        set(zip(*table.select(columns).to_pydict().values(), strict=True))
        for table in (then, banks.table)
    )
    return {cluster for _, _, cluster in old ^ new}


def _never_embedded(tables: Tables, samples: pa.Table, modalities: Iterable[str]) -> int:
    """How many parts of kept samples the encoders could not take, by the ledger."""
    entries = tables.scan("ledger", schema.LEDGER, ["id"], one_of("stage", ["vectors"]))
    failed = pc.unique(entries["id"].combine_chunks())
    columns = [samples[f"{m}_id"].combine_chunks() for m in modalities]
    return sum(
        pc.sum(pc.is_in(pc.unique(c), value_set=pc.drop_null(failed))).as_py() or 0 for c in columns
    )
