"""Recipes measured on banks, ready for any gallery rows.

What is prepared knows the banks alone, so a row's values depend on that row and the banks, never
on which other rows it came with.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from store.corrections.bank_statistics import Observer
from store.corrections.correction import Applied
from store.corrections.kernels.arrays import Array, as_matrix, beside, empty_like, full_like, unit
from store.corrections.kernels.masks import as_ids
from store.corrections.kernels.threads import Span, each
from store.corrections.method import FitBanks
from store.corrections.recipe import Recipe
from store.errors import InputError

FLAG_MARGIN = -1e-6  # a bank item must be flagged by its own threshold in spite of rounding
UNMOVED = "none"

Values = tuple[int, Array | None, Array | None, Array | None]


class Group(NamedTuple):
    """Recipes that move vectors alike, and so share what the moved rows see of the banks."""

    mover: Recipe
    state: dict[str, Array]
    observer: Observer
    members: list[tuple[int, dict[str, Array]]]  # number of the recipe, state of its second part


class Prepared:
    """Recipes with all that they need to know of the banks. Made by `prepare`."""

    def __init__(self, recipes: Sequence[Recipe], banks: FitBanks):
        self.recipes = list(recipes)
        self.banks = banks
        by_key: dict[Any, list[int]] = {}
        for number, r in enumerate(self.recipes):
            by_key.setdefault(r.key, []).append(number)
        unmoved = [r for r in self.recipes if r.first.name == UNMOVED]
        self.raw = Observer(
            banks,
            [(r.first, r.first_params) for r in self.recipes]
            + [(r.second, r.second_params) for r in unmoved],
        )
        self.groups = [self._group(numbers) for numbers in by_key.values()]

    def _group(self, numbers: list[int]) -> Group:
        recipes = [self.recipes[i] for i in numbers]
        mover = recipes[0]
        state = mover.first.state(mover.first_params, self.banks)
        observer = self.raw
        if mover.first.name != UNMOVED and any(r.second.name != UNMOVED for r in recipes):
            observer = Observer(
                self._moved(mover, state), [(r.second, r.second_params) for r in recipes]
            )
        members = [
            (i, self.recipes[i].second.state(self.recipes[i].second_params, observer.banks))
            for i in numbers
        ]
        return Group(mover, state, observer, members)

    def _moved(self, mover: Recipe, state: dict[str, Array]) -> FitBanks:
        """The banks with the gallery bank moved as gallery rows are."""
        items, ids = self.banks.gallery, self.banks.gallery_ids
        moved = empty_like(items, tuple(items.shape), "float32")

        def move(span: Span) -> None:
            here = slice(*span)
            look = self.raw.look(items[here], None if ids is None else ids[here])
            made = mover.first.compile(mover.first_params, state, items[here], look)
            moved[here] = made.vectors

        each(move, items.shape[0], items)
        return FitBanks(self.banks.query, moved, self.banks.query_ids, ids)

    def apply(self, gallery: Array, ids: Any = None) -> list[Applied]:
        """Vectors, bias and flag of gallery rows (n, d) under each recipe, in one pass.

        `ids` (n,) are sample or cluster ids, compared with those of the banks. Arrays are of the
        gallery's kind; vectors are the gallery itself where nothing moved and its rows were unit
        float32. Raises InputError for rows of another width than the banks, and for a row that
        is zero or not finite.
        """
        rows = as_matrix(gallery, "gallery")
        for bank in (self.banks.query, self.banks.gallery):
            if bank is not None and bank.shape[1] != rows.shape[1]:
                raise InputError(
                    f"gallery has {rows.shape[1]} dims and a bank {bank.shape[1]}: "
                    "all must come from the same space"
                )
        known = as_ids(ids, rows.shape[0], "gallery_ids")
        rows = unit(rows, "gallery")
        home = rows if self.banks.query is None else self.banks.query
        out = [_space(rows, r) for r in self.recipes]

        def work(span: Span) -> None:
            here = slice(*span)
            block = beside(rows[here], home)
            for number, *parts in self._compile(block, None if known is None else known[here]):
                for whole, part in zip(out[number], parts, strict=True):
                    if part is not None:
                        whole[here] = beside(part, rows)

        each(work, rows.shape[0], home)
        return [
            Applied(*(None if whole is None else beside(whole, gallery) for whole in applied))
            for applied in out
        ]

    def _compile(self, block: Array, ids: np.ndarray | None) -> Iterator[Values]:
        """Each recipe's number and its values for a block of unit rows; None for unchanged."""
        raw = self.raw.look(block, ids)
        for group in self.groups:
            mover = group.mover
            moved = mover.first.compile(mover.first_params, group.state, block, raw).vectors
            rows = block if moved is None else moved
            look = raw if group.observer is self.raw else group.observer.look(rows, ids)
            for number, state in group.members:
                r = self.recipes[number]
                made = r.second.compile(r.second_params, state, rows, look)
                vectors = moved if made.vectors is None else made.vectors
                flag = None
                if r.second.dynamic:
                    assert look.query is not None
                    flag = look.query.margins[r.second_params["k"]] >= FLAG_MARGIN
                yield number, vectors, made.bias, flag


def _space(rows: Array, r: Recipe) -> Applied:
    """Room for the values of all rows; the rows themselves where the recipe moves nothing."""
    n = rows.shape[0]
    moves = r.first.moves or r.second.moves
    return Applied(
        empty_like(rows, tuple(rows.shape), "float32") if moves else rows,
        full_like(rows, (n,), 0.0, "float32"),
        full_like(rows, (n,), False, "bool") if r.second.dynamic else None,
    )
