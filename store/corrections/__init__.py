"""Corrections for hubs: the mathematics, on plain arrays (numpy or torch, torch not imported).

    c = fit("nnn", gallery=G, query_bank=B, gallery_bank=H, alpha=0.75, k=16)
    indices, scores = c.rank(queries, 10)          # by q . c.vectors - c.bias

One file is one method, named after it, with its paper and formula. `recipe` lists them, `blocks`
does the tiled products that they share, `fitting` puts the two together, and `select` chooses.
"""

from store.corrections.correction import Applied, Correction
from store.corrections.fitting import Prepared, fit, fit_many, prepare, prepare_many
from store.corrections.recipe import METHODS

__all__ = [
    "METHODS",
    "Applied",
    "Correction",
    "Prepared",
    "fit",
    "fit_many",
    "prepare",
    "prepare_many",
]
