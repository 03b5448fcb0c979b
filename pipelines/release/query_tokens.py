"""Token vectors of the bank's queries that a file has, which are no parts of the corpus.

Late interaction corrects tokens by those of the release's query bank. Queries of the query log are
vectors alone and have none.
"""

from pathlib import Path

import pyarrow as pa

from embedders.registry import load_encoder
from embedders.spaces import token_towers
from embedders.tokens import has_tokens
from pipelines.banks.query_files import read_queries
from pipelines.banks.query_origins import LoadQueries
from pipelines.engine.encoding import encoding_processes
from pipelines.stages.config_files import queries_file
from pipelines.stages.context import StageContext
from pipelines.vectors.tokens import token_rows
from store.search.late import BANK_PARTS
from store.tables import tokens
from store.tables.banks import Banks
from store.tables.lance_tables import one_of, quote
from store.tables.names import tokens_table

_UNIT = 64


def add_query_tokens(context: StageContext, banks: Banks) -> int:
    """Encode the queries of a file that the biases of tokens are fitted on, by difference.

    A query that cannot be encoded is in the ledger of `banks`, and has no token vectors.

    Args:
        context: of a corpus. Nothing is done without `late:` and a file of queries.
        banks: of the release.

    Returns:
        How many queries got token vectors.

    Raises:
        NotFoundError: the file does not exist.
        EncoderError: an encoder cannot be loaded.
    """
    late, space, config = context.config.late, context.space, context.config
    if late is None or "file" not in config.corrections.query_bank:
        return 0
    dim = banks.table.schema.field("vector").type.list_size
    queries = read_queries(queries_file(context.workspace), space, config.limits, dim).queries
    added = 0
    for modality, spec in token_towers(space).towers.items():
        is_wanted = not late.modalities or modality in late.modalities
        is_able = modality not in space.bridged and has_tokens(load_encoder(space.towers[modality]))
        if is_wanted and is_able:
            bank = set(banks.queries(modality).parts[:BANK_PARTS].tolist())
            own = {q.part_id: q.raw for q in queries if q.modality == modality and q.raw}
            raw = {part: own[part] for part in sorted(bank & own.keys())}
            added += _encode(context, modality, spec, raw)
    return added


def _encode(context: StageContext, modality: str, spec: str, raw: dict[str, str | Path]) -> int:
    """Encode queries by part id that have no row of the encoder in the table of token vectors."""
    encoder, name = load_encoder(spec), tokens_table(context.space.name, modality)
    columns = tokens.schema(encoder.dim // tokens.MOST)
    if (table := context.tables.open_or_none(name)) is not None:
        where = f"encoder = {quote(encoder.fingerprint)} AND {one_of('part_id', raw)}"
        known = set(table.to_table(columns=["part_id"], filter=where)["part_id"].to_pylist())
        raw = {part: value for part, value in raw.items() if part not in known}
    parts = list(raw.items())
    units = [
        (f"{modality}-{start}", LoadQueries(tuple(parts[start : start + _UNIT])))
        for start in range(0, len(parts), _UNIT)
    ]
    if not units:
        return 0
    ray = context.config.engine.ray
    with encoding_processes(spec, len(parts), ray, None) as processes:
        rows: list[pa.RecordBatch] = [
            token_rows(result.ids, result.vectors, encoder, columns)
            for result in processes.map(iter(units))
        ]
    context.tables.upsert(name, columns, rows, "part_id", other_width=True)
    return sum(batch.num_rows for batch in rows)
