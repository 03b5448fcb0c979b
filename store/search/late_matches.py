"""Explains late interaction: which token of an item each token of a query matched."""

from collections.abc import Sequence

import numpy as np

from store.search.explanation import TokenMatch
from store.search.late import TokenInput, read_tokens, token_biases, token_correction
from store.search.max_sim import matches
from store.search.opened import OpenRelease
from store.search.query import Query
from store.tables.lance_tables import quote


def token_matches(
    opened: OpenRelease, query: Query, inputs: Sequence[TokenInput], part_id: str
) -> tuple[TokenMatch, ...]:
    """The best token of an item for each token of the inputs; empty if it has no token vectors.

    Args:
        opened: the release.
        query: its gallery and correction are used.
        inputs: of the query, as `store.search.late.token_inputs` gives them.
        part_id: of the item.
    """
    item = read_tokens(opened, query.gallery, [part_id]).vectors
    rows = opened.gallery_dataset(query.gallery).to_table(
        ["cluster"], f"part_id = {quote(part_id)}"
    )
    clusters = np.repeat(rows["cluster"].to_numpy(zero_copy_only=False).astype(str), len(item))
    listed = []
    for given in inputs if len(item) else ():
        fitted = None
        if query.method != "none":
            fitted = token_correction(opened, given.modality, query.gallery)
        biases = token_biases(fitted, item, clusters)
        best = matches(given.vectors, item, biases)
        for number, (token, cosine, bias) in enumerate(zip(*best, strict=True)):
            match = TokenMatch(given.modality, number, int(token), float(cosine), float(bias))
            listed.append(match)
    return tuple(listed)
