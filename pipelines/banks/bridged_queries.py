"""The parts of the banks as queries of a newer encoder, brought into the space by a bridge.

Items keep the vectors of the space. Corrections are fitted, chosen and tested on what users will
ask: the same parts, encoded by the encoder that encodes their queries.
"""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.corpus_space import named_queries, query_space
from embedders.registry import load_encoder
from pipelines.banks.query_files import OriginQueries
from pipelines.engine.part_vectors import query_vectors
from pipelines.stages.context import StageContext
from store.arrow import vector_column
from store.errors import RecordError
from store.tables.banks import PAIR_SPLITS, bridged_split
from store.tables.staging import Entry


def bridged_queries(
    context: StageContext, rows: pa.Table, in_bank: Collection[str]
) -> tuple[pa.Table, OriginQueries]:
    """The rows that bridges add to the banks, in the splits of queries.

    Args:
        context: of the stage `banks`.
        rows: of the banks, with all parts in the splits of pairs.
        in_bank: the modalities whose parts in the split `bank` join the bank of queries.

    Returns:
        The rows, and the account of their parts: those that have no vector of the new encoder fail.

    Raises:
        NotAlignedError: a bridge has not been learned from the current encoders.
        EncoderError: an encoder cannot be loaded.
    """
    added, origin = [rows.schema.empty_table()], OriginQueries("bridge")
    for modality, name in named_queries(context.workspace).items():
        splits = [split for split in PAIR_SPLITS if split != "bank" or modality in in_bank]
        is_query = pc.and_(
            pc.equal(rows["modality"], modality),
            pc.is_in(rows["split"], value_set=pa.array(splits)),
        )
        queries = rows.filter(is_query)
        new, _ = query_space(context.workspace, name)
        parts = queries["part_id"].to_pylist()
        vectors, failed = query_vectors(context.workspace, new, modality, parts)
        present = np.isfinite(vectors).all(axis=1)
        origin.input += len(set(parts))
        errors = dict(failed)
        for part in sorted(set(np.array(parts)[~present].tolist())):
            error = errors.get(part) or RecordError("bridge.vector", f"no vector in space {name!r}")
            origin.exclude(
                Entry(origin.origin, part, error.rule, "failed", part, error=error.error)
            )
        bridge = load_encoder(context.space.bridged[modality])
        moved = bridge.projection(vectors[present])  # type: ignore[attr-defined]
        added.append(as_queries(queries.filter(pa.array(present)), bridge.fingerprint, moved))
    return pa.concat_tables(added), origin


def as_queries(rows: pa.Table, fingerprint: str, vectors: np.ndarray) -> pa.Table:
    """Rows of the banks in the splits of queries, with the vectors (n, d) of another encoder."""
    splits = [bridged_split(split) for split in rows["split"].to_pylist()]
    values: dict[str, pa.Array] = {
        "split": pa.array(splits, pa.string()),
        "encoder": pa.array([fingerprint] * len(splits), pa.string()),
        "vector": vector_column(vectors),
    }
    columns = [values.get(name, rows[name]) for name in rows.schema.names]
    return pa.table(columns, schema=rows.schema)
