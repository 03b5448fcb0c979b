"""What is worth seeing of the signals of pairs: how they are spread over the corpus."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from assets.report import table
from assets.spread import spread
from store import schema
from store.workspace import Workspace


def show(corpus: Workspace) -> dict[str, Any]:
    """The spread of every signal that there is; how many samples the largest clusters hold."""
    name = schema.pairs_table(corpus.config.space)
    shown = {"space": corpus.config.space, **spread(corpus, within=name)}
    numbered = [n for n in schema.PAIR_TYPES if n.endswith("_cluster")]
    found = corpus.tables.scan(name, schema.PAIRS, numbered)
    sizes = {n: np.bincount(pc.drop_null(found[n]).to_numpy()) for n in numbered}
    rows = [(n, np.count_nonzero(s), int(s.max())) for n, s in sizes.items() if len(s)]
    if rows:
        shown["clusters"] = table(("clusters", "used", "samples of the largest"), rows)
    return shown
