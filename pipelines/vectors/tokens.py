"""Makes the tables `tokens__{space}__{modality}`: the token vectors of a drop's parts.

They cost another run of the encoder and are made by difference, as vectors are. A part whose token
vectors cannot be made has its vector alone.
"""

import logging
from itertools import islice

import numpy as np
import pyarrow as pa

from embedders.encoder import Encoder
from embedders.pool.one_process import EncodingProcess
from embedders.registry import load_encoder
from embedders.spaces import Space, token_towers
from embedders.tokens import has_tokens
from pipelines.vectors.encode_parts import encode_parts
from store import identity
from store.config.late import Late
from store.tables import tokens
from store.tables.names import tokens_table
from store.tables.staging import begin
from store.workspace import Workspace

_ROWS = 1024  # that are written at a time
_log = logging.getLogger("isotrope.tokens")


def extract_tokens(
    workspace: Workspace, drop: str, space: Space, late: Late, process: EncodingProcess
) -> None:
    """Make the missing token vectors of a drop.

    Args:
        late: says of which modalities.
        process: that few parts are encoded in.

    Raises:
        EncoderError: a modality that `late` names has no tower with token vectors.
    """
    towers = token_towers(space).towers
    able = {m for m, spec in space.towers.items() if has_tokens(load_encoder(spec))}
    for modality in sorted(towers.keys() & late.modalities if late.modalities else able):
        _extract(workspace, drop, space.name, towers[modality], modality, process)


def _extract(
    workspace: Workspace,
    drop: str,
    space: str,
    spec: str,
    modality: str,
    process: EncodingProcess,
) -> None:
    encoder, table = load_encoder(spec), tokens_table(space, modality)
    columns = tokens.schema(encoder.dim // tokens.MOST)
    key = identity.run_key("tokens", table, drop, encoder.fingerprint)
    with begin(workspace.tables, table, key, columns, drop) as run:
        encode_parts(workspace, run, drop, table, spec, modality, process, token_rows)
        workspace.tables.upsert(
            table, columns, run.batches(rows=_ROWS), "part_id", other_width=True
        )
        failed = run.counts().failed
        for entry in islice(run.entries(), 1):
            _log.warning("%s: %d parts have no token vectors: %s", table, failed, entry.error)
        run.close()


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
        pa.array(ids, pa.string()),
        pa.array([encoder.modality] * len(ids), pa.string()),
        pa.array([encoder.fingerprint] * len(ids), pa.string()),
        tokens.column(tokens.unpack(packed)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)
