"""Draws the random parts that pairs are measured against: banks, centroids of clusters, sentinels.

A draw is rows of the table `pair_draws__{space}` (`store.tables.pair_draws`). It holds the vectors
themselves, so a row of `pairs` depends on the vectors of its own parts and on these rows alone.
"""

import hashlib
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.pairs.embedded_samples import EmbeddedSamples
from pipelines.pairs.reference_bank import Parts
from pipelines.pairs.sentinels import ASKED_BY, ITEMS, Sentinels, nearest_floors
from pipelines.pairs.vector_table import VectorTable
from store import identity, spherical_kmeans
from store.arrow import as_matrix, vector_column
from store.config.signals import Pairs
from store.tables.pair_draws import pair_draws
from store.tables.schema import MODALITIES

MODALITY_PAIRS = (("text", "image"), ("text", "audio"), ("image", "audio"))


def draw(samples: EmbeddedSamples, table: VectorTable, settings: Pairs, key: str) -> pa.Table:
    """Draw from all samples: those of the smallest ids. Broken vectors are left out.

    Args:
        samples: of the corpus.
        table: of their vectors.
        settings: the section `pairs` of corpus.yaml.
        key: the hash of the settings.
    """
    columns = pair_draws(table.dim)
    block = partial(_block, columns, draw=key)
    blocks = [
        block("population", name, 1, value=pa.array([float(count)]))
        for name, count in populations(samples, settings).items()
    ]
    for a, b in MODALITY_PAIRS:
        drawn = samples.draw_pairs(a, b, settings.bank)
        vectors = {m: table.read(drawn[f"{m}_row"]) for m in (a, b)}
        valid = vectors[a][1] & vectors[b][1]
        for m in (a, b):
            members = drawn.filter(pa.array(valid))
            given = {"sample_id": members["id"], "part_id": members[f"{m}_id"], "modality": m}
            rows = vector_column(vectors[m][0][valid])
            blocks.append(block("bank", f"{a}_{b}", len(rows), vector=rows, **given))
    for m in MODALITIES if settings.clusters else ():
        _, sample = _read(samples, table, m, spherical_kmeans.ROWS_PER_CENTROID * settings.clusters)
        if len(sample):
            rows = vector_column(spherical_kmeans.train_centroids(sample, settings.clusters))
            blocks.append(block("centroid", m, len(rows), vector=rows, modality=m))
    for m, others in ASKED_BY.items() if settings.sentinels else ():
        asking = next((other for other in others if samples.count_with(other)), others[0])
        _, items = _read(samples, table, m, ITEMS)
        ids, queries = _read(samples, table, asking, settings.sentinels)
        if len(items) and len(queries):
            floors = pa.array(nearest_floors(queries, items).astype(np.float64))
            given = {"part_id": ids, "value": floors, "modality": asking}
            rows = vector_column(queries)
            blocks.append(block("sentinel", m, len(rows), vector=rows, **given))
    return pa.concat_tables(blocks)


def populations(samples: EmbeddedSamples, settings: Pairs) -> dict[str, int]:
    """How many samples have the modalities that a draw is from, by name as in the table."""
    singles = [(m,) for m in MODALITIES] if settings.clusters or settings.sentinels else []
    return {"_".join(names): samples.count_with(*names) for names in (*MODALITY_PAIRS, *singles)}


def digest(drawn: pa.Table) -> str:
    """A digest of all values of a draw. It depends on the order of the rows."""
    values = drawn.drop_columns(["vector"]).to_pydict()
    vectors = as_matrix(drawn["vector"].drop_null())
    return identity.run_key(values, hashlib.blake2b(vectors.tobytes()).hexdigest())


def bank_sides(drawn: pa.Table, a: str, b: str) -> tuple[Parts, Parts]:
    """Both parts of the pairs of a bank, in the order of their sample ids."""
    rows = _rows(drawn, "bank", f"{a}_{b}")
    sides = [rows.filter(pc.equal(rows["modality"], m)) for m in (a, b)]
    return _parts(sides[0]), _parts(sides[1])


def centroids(drawn: pa.Table) -> dict[str, np.ndarray]:
    """The centroids (k, d) of the clusters, by modality."""
    by_modality = {m: _rows(drawn, "centroid", m) for m in MODALITIES}
    return {m: as_matrix(rows["vector"]) for m, rows in by_modality.items() if rows.num_rows}


def sentinels(drawn: pa.Table) -> dict[str, Sentinels]:
    """The sentinel queries, by the modality of the parts that they are compared with."""
    by_modality = {m: _rows(drawn, "sentinel", m) for m in MODALITIES}
    return {
        m: Sentinels(as_matrix(rows["vector"]), rows["value"].to_numpy().astype(np.float32))
        for m, rows in by_modality.items()
        if rows.num_rows
    }


def _read(
    samples: EmbeddedSamples, table: VectorTable, modality: str, count: int
) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Ids and valid vectors of random parts."""
    drawn = samples.draw_parts(modality, count)
    vectors, valid = table.read(drawn[f"{modality}_row"])
    return drawn[f"{modality}_id"].filter(pa.array(valid)), vectors[valid]


def _block(
    columns: pa.Schema, kind: str, name: str, count: int, *, draw: str, **given: Any
) -> pa.Table:
    """Rows of a draw. Strings are repeated; columns that are not given are null."""
    given |= {"draw": draw, "kind": kind, "name": name, "number": pa.array(range(count))}
    arrays = [
        pa.array([value] * count) if isinstance(value, str) else value
        for value in (given.get(n, pa.nulls(count)) for n in columns.names)
    ]
    return pa.table(arrays, names=columns.names).cast(columns)


def _rows(drawn: pa.Table, kind: str, name: str) -> pa.Table:
    is_named = pc.and_(pc.equal(drawn["kind"], kind), pc.equal(drawn["name"], name))
    return drawn.filter(is_named).sort_by("number")


def _parts(rows: pa.Table) -> Parts:
    ids = rows["part_id"].to_numpy(zero_copy_only=False).astype(str)
    return Parts(ids, as_matrix(rows["vector"]))
