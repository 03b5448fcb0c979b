"""Corrections for hubs: the mathematics, on plain arrays (numpy or torch, torch not imported).

    c = fit("nnn", gallery=G, query_bank=B, gallery_bank=H, alpha=0.75, k=16)
    indices, scores = c.rank(queries, 10)          # by q . c.vectors - c.bias

One file is one method, named after it, with its paper and formula. `recipe` lists them, `blocks`
does the tiled products that they share, `fitting` puts the two together, `evaluate` judges, and
`select` chooses.
"""

from store.corrections.correction import Applied, Correction
from store.corrections.evaluate import INDUCTIVE, TRANSDUCTIVE, Evaluation, evaluate
from store.corrections.fit import Prepared, fit, fit_many, prepare, prepare_many
from store.corrections.recipe import METHODS
from store.corrections.select import Selection, select

__all__ = [
    "INDUCTIVE",
    "METHODS",
    "TRANSDUCTIVE",
    "Applied",
    "Correction",
    "Evaluation",
    "Prepared",
    "Selection",
    "evaluate",
    "fit",
    "fit_many",
    "prepare",
    "prepare_many",
    "select",
]
