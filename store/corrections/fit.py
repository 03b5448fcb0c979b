"""Fit corrections: measure the banks once (`prepare`), then any gallery rows (`apply`).

`fit` is the two in one; a Ray job may prepare once and apply tile by tile.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from store.corrections.correction import Applied, Correction
from store.corrections.kernels.arrays import Array, as_bank, beside
from store.corrections.kernels.masks import as_ids
from store.corrections.method import FitBanks, Params
from store.corrections.prepared import Prepared
from store.corrections.recipe import Recipe, recipe
from store.errors import InputError

Spec = str | tuple[str, Params]


def prepare_many(
    specs: Iterable[Spec],
    *,
    query_bank: Array,
    gallery_bank: Array,
    query_bank_ids: Any = None,
    gallery_bank_ids: Any = None,
) -> Prepared:
    """Measure the banks for several methods: names, or (name, parameters) pairs.

    `query_bank` (m, d) and `gallery_bank` (l, d) are scaled to unit length where they are not;
    ids (m,), (l,) are of samples or duplicate clusters. A bank may be None where no method needs
    it. Raises InputError for unknown methods or parameters, and for banks that are empty, of
    different widths, or hold a zero or non-finite row.
    """
    recipes = [recipe(spec) if isinstance(spec, str) else recipe(*spec) for spec in specs]
    query = None if query_bank is None else as_bank(query_bank, "query_bank")
    gallery = None if gallery_bank is None else as_bank(gallery_bank, "gallery_bank")
    for r in recipes:
        for name, bank in (("query_bank", query), ("gallery_bank", gallery)):
            if bank is None and name in r.banks:
                raise InputError(f"{r.name} is measured on a {name}, but it is None")
    if query is not None and gallery is not None:
        if query.shape[1] != gallery.shape[1]:
            raise InputError(
                f"query_bank has {query.shape[1]} dims and gallery_bank {gallery.shape[1]}: "
                "both must come from the same space"
            )
        gallery = beside(gallery, query)
    query_ids = None if query is None else as_ids(query_bank_ids, query.shape[0], "query_bank_ids")
    gallery_ids = (
        None if gallery is None else as_ids(gallery_bank_ids, gallery.shape[0], "gallery_bank_ids")
    )
    return Prepared(recipes, FitBanks(query, gallery, query_ids, gallery_ids))


def prepare(
    method: str,
    *,
    query_bank: Array,
    gallery_bank: Array,
    query_bank_ids: Any = None,
    gallery_bank_ids: Any = None,
    **params: Any,
) -> Prepared:
    """`prepare_many` for one method; `apply` of the result gives a list of one."""
    return prepare_many(
        [(method, params)],
        query_bank=query_bank,
        gallery_bank=gallery_bank,
        query_bank_ids=query_bank_ids,
        gallery_bank_ids=gallery_bank_ids,
    )


def fit_many(
    specs: Iterable[Spec],
    *,
    gallery: Array,
    query_bank: Array,
    gallery_bank: Array,
    gallery_ids: Any = None,
    query_bank_ids: Any = None,
    gallery_bank_ids: Any = None,
) -> list[Correction]:
    """Fit several methods in one pass over gallery and banks; see `fit`."""
    prepared = prepare_many(
        specs,
        query_bank=query_bank,
        gallery_bank=gallery_bank,
        query_bank_ids=query_bank_ids,
        gallery_bank_ids=gallery_bank_ids,
    )
    return [
        Correction(
            r.name,
            r.params,
            *values,
            extend=partial(_apply_one, r, prepared.banks),
            query_bank_ids=prepared.banks.query_ids if "query_bank" in r.banks else None,
        )
        for r, values in zip(prepared.recipes, prepared.apply(gallery, gallery_ids), strict=True)
    ]


def fit(
    method: str,
    *,
    gallery: Array,
    query_bank: Array,
    gallery_bank: Array,
    gallery_ids: Any = None,
    query_bank_ids: Any = None,
    gallery_bank_ids: Any = None,
    **params: Any,
) -> Correction:
    """Fit a correction to gallery rows (n, d): vectors and biases that rank by q . g' - bias.

    Rows are numpy or torch, scaled to unit length where they are not; nothing given is changed.
    A bank row and a gallery row with equal ids are left out of each other's sums and
    neighbourhoods. A k larger than the bank is clipped to it; a row with nothing left to measure
    it by gets the mean of what the gallery bank's items measure. Raises InputError as
    `prepare_many` and `Prepared.apply` do.
    """
    return fit_many(
        [(method, params)],
        gallery=gallery,
        query_bank=query_bank,
        gallery_bank=gallery_bank,
        gallery_ids=gallery_ids,
        query_bank_ids=query_bank_ids,
        gallery_bank_ids=gallery_bank_ids,
    )[0]


def _apply_one(r: Recipe, banks: FitBanks, rows: Array, ids: Any = None) -> Applied:
    return Prepared([r], banks).apply(rows, ids)[0]
