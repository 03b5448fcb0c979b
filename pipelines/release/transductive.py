"""Evaluate a release as if all test queries had been known when its corrections were fitted.

The figures are an upper bound, not a result. They are computed on demand, labelled transductive,
and never stored.
"""

from typing import Any

import numpy as np

from pipelines.release.evaluate import (
    labelled_test_queries,
    measure,
    read_unseen,
    side_by_side,
)
from store.corrections import TRANSDUCTIVE, fit
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.lance_tables import Tables
from store.tables.names import bank_table
from store.tables.releases import Release


def evaluate_transductive(tables: Tables, release: Release) -> dict[str, Any]:
    """Fit a release's corrections with the test queries in the query bank, and evaluate them.

    A query is still masked by its ids, so it does not count towards the bias of its own answers.

    Returns:
        Figures by direction, as `pipelines.release.evaluate` gives them, for the same test pairs.
        Directions that are raw, and those without test queries, are left out.
    """
    banks = Banks(tables.open(bank_table(release.space), version=release.tag).to_table())
    figures = {
        name: _evaluate(tables, release, banks, direction)
        for name, direction in release.directions.items()
        if direction.method != "none"
    }
    return {name: f for name, f in figures.items() if f}


def _evaluate(
    tables: Tables, release: Release, banks: Banks, direction: Direction
) -> dict[str, Any]:
    dataset = tables.open(release.gallery(direction.gallery), version=release.tag)
    gallery, _, left_out = read_unseen(dataset, banks, direction, release.dim)
    test = labelled_test_queries(banks, direction, gallery)
    if not test.answered:
        return {}
    queries, query_clusters, _ = banks.queries(direction.query)
    items, item_clusters, _ = banks.items(direction.gallery)
    fitting: dict[str, Any] = {
        "gallery": gallery.vectors,
        "gallery_ids": gallery.clusters,
        "query_bank": np.concatenate([queries, test.vectors]),
        "query_bank_ids": np.concatenate([query_clusters, test.clusters]),
        "gallery_bank": items,
        "gallery_bank_ids": item_clusters,
    }
    before = measure(fit("none", **fitting), test)
    after = measure(fit(direction.method, **fitting, **direction.params), test, TRANSDUCTIVE)
    return {
        "protocol": after.protocol,
        "method": direction.method,
        "params": direction.params,
        "queries": test.answered,
        "gallery": len(gallery.parts),
        "left_out": left_out,
        **side_by_side(before, after),
    }
