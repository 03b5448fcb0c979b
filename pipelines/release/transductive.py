"""What a release's corrections would do if all test queries had been known when they were fitted.

It is a bound and not a result, for who asks: it is computed anew, labelled, and never stored.
"""

from typing import Any

import numpy as np

from pipelines.gallery.read_back import read_compiled
from pipelines.release.evaluate import measure, side_by_side, test_questions
from store.corrections import TRANSDUCTIVE, fit
from store.tables.banks import Banks
from store.tables.lance_tables import Tables
from store.tables.names import bank_table
from store.tables.releases import Direction, Release


def evaluate_transductive(tables: Tables, release: Release) -> dict[str, Any]:
    """Figures by direction as `release.evaluate` gives them, for the same test pairs,
    with the test queries in the bank of queries; only where there is a correction to fit.

    A query still does not count towards the bias of its own answers: ids mask it as ever.
    """
    banks = Banks(tables.open(bank_table(release.space), version=release.tag).to_table())
    found = {
        name: _direction(tables, release, banks, direction)
        for name, direction in release.directions.items()
        if direction.method != "none"
    }
    return {name: figures for name, figures in found.items() if figures}


def _direction(
    tables: Tables, release: Release, banks: Banks, direction: Direction
) -> dict[str, Any]:
    dataset = tables.open(release.gallery(direction.gallery), version=release.tag)
    gallery, _ = read_compiled(dataset, direction, release.dim)
    asked = test_questions(banks, direction, gallery)
    if not asked.answered:
        return {}
    asks, asks_clusters, _ = banks.queries(direction.query)
    items, items_clusters, _ = banks.items(direction.gallery)
    fitting: dict[str, Any] = {
        "gallery": gallery.vectors,
        "gallery_ids": gallery.clusters,
        "query_bank": np.concatenate([asks, asked.vectors]),
        "query_bank_ids": np.concatenate([asks_clusters, asked.clusters]),
        "gallery_bank": items,
        "gallery_bank_ids": items_clusters,
    }
    before = measure(fit("none", **fitting), asked)
    after = measure(fit(direction.method, **fitting, **direction.params), asked, TRANSDUCTIVE)
    return {
        "protocol": after.protocol,
        "method": direction.method,
        "params": direction.params,
        "queries": asked.answered,
        "gallery": len(gallery.parts),
        **side_by_side(before, after),
    }
