"""Makes the tables `moment_vectors__{space}__{modality}`: the vectors of the moments of parts."""

import numpy as np
import pyarrow as pa

from embedders.encoder import Encoder
from embedders.pool.one_process import EncodingProcess
from embedders.registry import load_encoder, parse_spec
from embedders.spaces import Space
from pipelines.engine.encoding import part_columns
from pipelines.vectors.beside_vectors import fill_beside_vectors
from store.config.moments import Moments
from store.errors import EncoderError
from store.tables import moments
from store.tables.names import moment_vectors_table
from store.tables.staging import Entry
from store.workspace import Workspace

_ROWS = 64  # that are written at a time


def extract_moments(
    workspace: Workspace, drop: str, space: Space, config: Moments, process: EncodingProcess
) -> list[Entry]:
    """Make the missing vectors of moments of a drop.

    Args:
        config: says of which modalities, and how they are cut.
        process: that few parts are encoded in.

    Returns:
        The parts that have none, for the ledger.

    Raises:
        EncoderError: the space has no tower of a modality that `config` names.
    """
    failed = []
    for modality, option in config.options.items():
        spec = moment_spec(space, modality, option)
        table = moment_vectors_table(space.name, modality)
        columns = moments.vectors_schema(load_encoder(space.towers[modality]).dim)
        failed += fill_beside_vectors(
            workspace, drop, "moments", table, columns, spec, process, moment_rows, _ROWS
        )
    return failed


def moment_spec(space: Space, modality: str, option: str) -> str:
    """The spec of the encoder of moments of a modality."""
    if modality not in space.towers:
        raise EncoderError(
            f"moments.{modality}: space {space.name!r} has no tower of {modality}, only"
            f" {', '.join(space.towers)}"
        )
    return str(parse_spec(space.towers[modality]).with_options(**{moments.OPTION: option}))


def moment_rows(
    ids: list[str], packed: np.ndarray, encoder: Encoder, columns: pa.Schema
) -> pa.RecordBatch:
    """Rows of a table of vectors of moments.

    Args:
        ids: of the parts.
        packed: rows of `store.tables.moments.pack`.
        encoder: that made them.
        columns: the schema of the table: `moments.vectors_schema`.
    """
    dim = columns.field("vectors").type.value_type.list_size
    arrays = [
        *part_columns(ids, encoder),
        *moments.columns_of(moments.unpack(packed, dim)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)
