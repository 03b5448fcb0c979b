"""Fit corrections to banks (`prepare`), then apply them to gallery rows (`Prepared.apply`).

`fit` does both. A Ray job prepares once and applies the result tile by tile.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from store.corrections.correction import Applied, Correction
from store.corrections.kernels.arrays import Array, as_bank, convert_like
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
    """Fit several methods to banks.

    Args:
        specs: names of methods, or (name, parameters) pairs.
        query_bank: (m, d), scaled to unit length where necessary; None if no method needs it.
        gallery_bank: (l, d), as `query_bank`.
        query_bank_ids: (m,) ids of samples or duplicate clusters, or None.
        gallery_bank_ids: (l,) ids of samples or duplicate clusters, or None.

    Raises:
        InputError: a method or parameter is unknown, a bank that is needed is None, or a bank is
            empty, has another width, or holds a zero or non-finite row.
    """
    recipes = [recipe(spec) if isinstance(spec, str) else recipe(*spec) for spec in specs]
    query = None if query_bank is None else as_bank(query_bank, "query_bank")
    gallery = None if gallery_bank is None else as_bank(gallery_bank, "gallery_bank")
    for r in recipes:
        for name, bank in (("query_bank", query), ("gallery_bank", gallery)):
            if bank is None and name in r.banks:
                raise InputError(f"{r.name} is fitted on a {name}, but {name} is None: give one")
    if query is not None and gallery is not None:
        if query.shape[1] != gallery.shape[1]:
            raise InputError(
                f"query_bank has {query.shape[1]} dims and gallery_bank {gallery.shape[1]}: "
                "both must come from the same space"
            )
        gallery = convert_like(gallery, query)
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
    """`prepare_many` for one method; `apply` of the result returns a list of one `Applied`."""
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
    """Fit several methods in one pass over gallery and banks; see `prepare_many` and `fit`."""
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
            extend=partial(_apply_one, r, prepared),
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
    """Fit a correction to a gallery: vectors g' and biases that rank by q . g' - bias.

    Arrays are numpy or torch, scaled to unit length where necessary; the inputs are never changed.
    A bank row and a gallery row with equal ids are masked: they are left out of each other's sums
    and neighbourhoods. A row whose bank rows are all masked gets the mean statistics of the items
    of the gallery bank. A parameter k that is larger than the bank is reduced to its size.

    Args:
        method: name of a method, or of a composition of two. The first moves vectors
            ("invgc", "invgc_local", "centered" or "canonical"), the second is fitted on the moved
            ones, as in "centered+sinkhorn".
        gallery: (n, d) items.
        query_bank: (m, d) a sample of queries; None if the method does not need it.
        gallery_bank: (l, d) a sample of items; None if the method does not need it.
        gallery_ids: (n,) ids of samples or duplicate clusters, or None.
        query_bank_ids: (m,) ids of samples or duplicate clusters, or None.
        gallery_bank_ids: (l,) ids of samples or duplicate clusters, or None.
        **params: parameters of the method; the others keep their defaults. In a composition, a
            parameter that both methods have is given as method__parameter (invgc_local__k=10),
            any other also by its plain name (alpha=0.5).

    Raises:
        InputError: as `prepare_many` and `Prepared.apply` do.
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


def _apply_one(r: Recipe, prepared: Prepared, rows: Array, ids: Any = None) -> Applied:
    if len(prepared.recipes) > 1:
        prepared = Prepared([r], prepared.banks)
    return prepared.apply(rows, ids)[0]
