"""Corrections for hubs: the mathematics, on plain arrays (numpy or torch, torch not imported).

    c = fit("nnn", gallery=G, query_bank=B, gallery_bank=H, alpha=0.75, k=16)
    indices, scores = c.rank(queries, 10)          # by q . c.vectors - c.bias

`methods/` has one file per method, named after it, with its paper and formula. `recipe` holds the
table of all methods and their compositions. `kernels/` has the tiled matrix products that the
methods share. `fit` fits methods to banks and a gallery, `evaluate` measures a fitted correction,
and `select` chooses one on held-out pairs.
"""

from store.corrections.correction import Applied, Correction
from store.corrections.evaluate import evaluate
from store.corrections.evaluation import INDUCTIVE, TRANSDUCTIVE, Evaluation
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
