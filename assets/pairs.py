"""What is worth seeing of the signals of pairs: how they are spread over the corpus."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from assets.report import picture, table
from pipelines.pictures import histogram
from store import schema
from store.workspace import Workspace

_MOST = 200_000  # samples that are looked at


def show(corpus: Workspace) -> dict[str, Any]:
    """The spread of every signal that there is, of a random part of a large corpus; how many
    samples the largest clusters hold."""
    opened = corpus.tables.open(f"pairs__{corpus.config.space}")
    rows = opened.count_rows()
    # Ids are hashes: those below a number are a uniform draw.
    below = f"{min(0xFFFFFFFF, (_MOST << 32) // max(rows, 1)):08x}"
    found = opened.to_table(filter=f"id <= '{below}g'")
    values = {n: pc.drop_null(found[n]).to_numpy() for n in schema.PAIR_TYPES}
    values = {n: v[np.isfinite(v)] for n, v in values.items() if len(v)}
    numbers = {n: v for n, v in values.items() if not n.endswith("_cluster")}
    heads = ("signal", "samples", "least", "median", "most")
    spread = [(n, len(v), *np.percentile(v, [0, 50, 100])) for n, v in numbers.items() if len(v)]
    shown: dict[str, Any] = {"space": corpus.config.space}
    if spread:
        shown["spread"] = table(heads, spread)
    if clusters := [n for n in values if n not in numbers]:
        sizes = {n: np.bincount(values[n]) for n in clusters}
        listed = [(n, np.count_nonzero(s), int(s.max()), len(values[n])) for n, s in sizes.items()]
        shown["clusters"] = table(("clusters", "used", "largest", "samples"), listed)
    for name, v in numbers.items():
        if len(v):
            shown[f"picture, {name}"] = picture(histogram(v, name), f"spread of {name}")
    return shown
