"""Correction on request: a method that the release has not compiled, over the best candidates.

The method is measured on the release's banks and applied to the candidates alone, which needs
their vectors and no more. What lies outside the candidates is not seen.
"""

import lancedb
import numpy as np
import pyarrow as pa

from store.corrections import prepare_many
from store.corrections.recipe import METHODS
from store.errors import InputError
from store.releases import Release
from store.search import Found, Weighted, combine, fetch, ranked
from store.tables import Tables, quote

_CANDIDATES = 1_000
_PER_ROW = 20


def candidates(
    tables: Tables,
    release: Release,
    table: lancedb.table.Table,
    modality: str,
    inputs: list[Weighted],
    method: str,
    columns: list[str],
    where: str | None,
    limit: int,
) -> Found:
    """The `limit` best of the raw candidates, rescored by `method`.

    Raises:
        InputError: the release has no bank for one of the inputs.
    """
    count = max(_CANDIDATES, _PER_ROW * limit)
    read = list(dict.fromkeys([*columns, "vector", "cluster"]))
    rows = fetch(table, combine(inputs), count, read, where)
    gallery = _matrix(rows["vector"])
    clusters = rows["cluster"].to_numpy(zero_copy_only=False)
    score = np.zeros(rows.num_rows, np.float32)
    for given in inputs:
        direction = release.directions.get(f"{given.modality}->{modality}")
        params = _params(direction.tried if direction else [], method)
        asks, asks_ids = _bank(tables, release, given.modality)
        searched, searched_ids = _bank(tables, release, modality)
        if not len(asks) or not len(searched):
            raise InputError(
                f"correct({method!r}): release {release.number} has no bank of {given.modality}"
                f" queries for the {modality} gallery; use none"
            )
        prepared = prepare_many(
            [(method, params)],
            query_bank=asks,
            gallery_bank=searched,
            query_bank_ids=asks_ids,
            gallery_bank_ids=searched_ids,
        )
        applied = prepared.apply(gallery, clusters)[0]
        raw = gallery @ given.vector
        fixed = applied.vectors @ given.vector - applied.bias
        hub = applied.flag is None or (rows.num_rows and applied.flag[int(np.argmax(raw))])
        score += np.float32(given.weight) * (fixed if hub else raw)
    raw = rows["_raw_score"].to_numpy()
    order = np.argsort(-score, kind="stable")[:limit]
    everything = rows.num_rows < count
    return Found(ranked(rows, score, raw, raw - score, order, columns), everything, rows.num_rows)


def _bank(tables: Tables, release: Release, modality: str) -> tuple[np.ndarray, np.ndarray]:
    name = f"banks__{release.space}"
    found = tables.open(name, version=release.versions[name]).to_table(
        columns=["vector", "cluster"], filter=f"split = 'bank' AND modality = {quote(modality)}"
    )
    return _matrix(found["vector"]), found["cluster"].to_numpy(zero_copy_only=False)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    combined = column.combine_chunks()
    return combined.flatten().to_numpy().reshape(len(combined), -1)


def _params(tried: list[dict], method: str) -> dict:
    """The best setting that the release's selection found for a method, else its defaults."""
    of_method = [t for t in tried if t["method"] == method and t.get("mrr") is not None]
    if not of_method:
        return dict(METHODS[method].defaults)
    return dict(max(of_method, key=lambda t: t["mrr"])["params"])
