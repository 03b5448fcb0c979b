"""Makes the tables `tokens__{space}__{modality}`: the token vectors of a drop's parts."""

import numpy as np
import pyarrow as pa

from embedders.encoder import Encoder
from embedders.pool.one_process import EncodingProcess
from embedders.registry import load_encoder
from embedders.spaces import Space, token_towers
from embedders.tokens import has_tokens
from pipelines.engine.encoding import part_columns
from pipelines.vectors.beside_vectors import fill_beside_vectors
from store.config.late import Late
from store.tables import tokens
from store.tables.names import tokens_table
from store.tables.staging import Entry
from store.workspace import Workspace

_ROWS = 1024  # that are written at a time


def extract_tokens(
    workspace: Workspace, drop: str, space: Space, late: Late, process: EncodingProcess
) -> list[Entry]:
    """Make the missing token vectors of a drop.

    Args:
        late: says of which modalities.
        process: that few parts are encoded in.

    Returns:
        The parts that have none, for the ledger.

    Raises:
        EncoderError: a modality that `late` names has no tower with token vectors.
    """
    towers, failed = token_towers(space).towers, []
    able = {m for m, spec in space.towers.items() if has_tokens(load_encoder(spec))}
    for modality in sorted(towers.keys() & late.modalities if late.modalities else able):
        spec, table = towers[modality], tokens_table(space.name, modality)
        columns = tokens.schema(load_encoder(spec).dim // tokens.MOST)
        failed += fill_beside_vectors(
            workspace, drop, "tokens", table, columns, spec, process, token_rows, _ROWS
        )
    return failed


def token_rows(
    ids: list[str], packed: np.ndarray, encoder: Encoder, columns: pa.Schema
) -> pa.RecordBatch:
    """Rows of a table of token vectors.

    Args:
        ids: of the parts.
        packed: rows of `store.tables.tokens.pack`.
        encoder: that made them.
        columns: the schema of the table: `tokens.schema`.
    """
    arrays = [
        *part_columns(ids, encoder),
        tokens.column(tokens.unpack(packed)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)
