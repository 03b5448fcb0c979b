"""Corrections fitted to banks, ready to be applied to any gallery rows.

`Prepared` depends on the banks alone. So the values of a gallery row depend on that row and the
banks, and not on the other rows of the same call.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from store.corrections.bank_statistics import BankScanner
from store.corrections.correction import Applied
from store.corrections.kernels.arrays import (
    Array,
    as_matrix,
    convert_like,
    empty_like,
    full_like,
    unit_rows,
)
from store.corrections.kernels.masks import as_ids
from store.corrections.kernels.threads import Span, for_each_span
from store.corrections.method import FitBanks, MovedQueries
from store.corrections.recipe import NONE, Recipe
from store.errors import InputError

# A bank item must be flagged by the threshold that was computed from itself, in spite of rounding.
FLAG_MARGIN = -1e-6

# Index of the recipe; vectors, bias and flag of a block of rows, None where nothing changes.
Values = tuple[int, Array | None, Array | None, Array | None]


class Group(NamedTuple):
    """Recipes that move vectors in the same way, so the moved rows share their bank statistics.

    Attributes:
        mover: one of the recipes; all have the same first method with the same parameters.
        state: state of the first method.
        scanner: bank statistics of the moved rows.
        moved: the bank queries that the second method is fitted on.
        members: for each recipe, its index and the state of its second method.
    """

    mover: Recipe
    state: dict[str, Array]
    scanner: BankScanner
    moved: MovedQueries
    members: list[tuple[int, dict[str, Array]]]


class Prepared:
    """Recipes with everything that they need from the banks. `prepare` makes it."""

    def __init__(self, recipes: Sequence[Recipe], banks: FitBanks):
        self.recipes = list(recipes)
        self.banks = banks
        by_key: dict[Any, list[int]] = {}
        for index, r in enumerate(self.recipes):
            by_key.setdefault(r.key, []).append(index)
        unmoved = [r for r in self.recipes if r.first.name == NONE.name]
        self.raw_scanner = BankScanner(
            banks,
            [(r.first, r.first_params) for r in self.recipes]
            + [(r.second, r.second_params) for r in unmoved],
        )
        self._states: dict[Any, dict[str, Array]] = {}
        self.groups = [self._group(indices) for indices in by_key.values()]

    def _group(self, indices: list[int]) -> Group:
        recipes = [self.recipes[i] for i in indices]
        mover = recipes[0]
        state = self._state_of(mover)
        scanner, moved = self.raw_scanner, MovedQueries(self.banks.query)
        if mover.first.name != NONE.name and any(r.second.name != NONE.name for r in recipes):
            moved = mover.first.move_queries(mover.first_params, state, self.banks.query)
            scanner = BankScanner(
                self._moved_banks(mover, state, moved.rows),
                [(r.second, r.second_params) for r in recipes],
            )
        members = [
            (i, self.recipes[i].second.state(self.recipes[i].second_params, scanner.banks))
            for i in indices
        ]
        for i, member_state in members:
            second, params = self.recipes[i].second, self.recipes[i].second_params
            scanner.weights |= second.weights(params, member_state)
        return Group(mover, state, scanner, moved, members)

    def _state_of(self, mover: Recipe) -> dict[str, Array]:
        """The state of the first method, computed once for settings that share it."""
        method, params = mover.first, mover.first_params
        key = method.name, *(params[name] for name in method.state_params)
        if key not in self._states:
            self._states[key] = method.state(params, self.banks)
        return self._states[key]

    def _moved_banks(self, mover: Recipe, state: dict[str, Array], queries: Array) -> FitBanks:
        """Moved bank queries, and the gallery bank moved in the same way as gallery rows."""
        items, ids = self.banks.gallery, self.banks.gallery_ids
        scanner = BankScanner(self.banks, [(mover.first, mover.first_params)])
        moved = empty_like(items, tuple(items.shape), "float32")

        def work(span: Span) -> None:
            rows = slice(*span)
            statistics = scanner.statistics(items[rows], None if ids is None else ids[rows])
            compiled = mover.first.compile(mover.first_params, state, items[rows], statistics)
            moved[rows] = compiled.vectors

        for_each_span(work, items.shape[0], items)
        return FitBanks(queries, moved, self.banks.query_ids, ids)

    def apply(self, gallery: Array, ids: Any = None) -> list[Applied]:
        """Vectors, bias and flag of gallery rows under each recipe, in one pass.

        Args:
            gallery: (n, d), scaled to unit length where necessary.
            ids: (n,) ids of samples or duplicate clusters; bank rows with the same id are masked.

        Returns:
            One `Applied` per recipe, with arrays of the kind of `gallery` (numpy or torch).
            `vectors` is `gallery` itself if the recipe moves nothing and the rows were already
            float32 of unit length.

        Raises:
            InputError: the rows have another width than the banks, or a row is zero or not finite.
        """
        rows = as_matrix(gallery, "gallery")
        for bank in (self.banks.query, self.banks.gallery):
            if bank is not None and bank.shape[1] != rows.shape[1]:
                raise InputError(
                    f"gallery has {rows.shape[1]} dims and a bank {bank.shape[1]}: "
                    "all must come from the same space"
                )
        row_ids = as_ids(ids, rows.shape[0], "gallery_ids")
        rows = unit_rows(rows, "gallery")
        computed_like = rows if self.banks.query is None else self.banks.query
        out = _allocate(rows, self.recipes)

        def work(span: Span) -> None:
            span_rows = slice(*span)
            block = convert_like(rows[span_rows], computed_like)
            block_ids = None if row_ids is None else row_ids[span_rows]
            for index, *values in self._compile(block, block_ids):
                for array, value in zip(out[index], values, strict=True):
                    if value is not None:
                        array[span_rows] = convert_like(value, rows)

        for_each_span(work, rows.shape[0], computed_like)
        return [
            Applied(*(None if array is None else convert_like(array, gallery) for array in applied))
            for applied in out
        ]

    def _compile(self, block: Array, ids: np.ndarray | None) -> Iterator[Values]:
        """The values of each recipe for a block of unit rows."""
        raw = self.raw_scanner.statistics(block, ids)
        for group in self.groups:
            mover = group.mover
            moved, own_bias = mover.first.compile(mover.first_params, group.state, block, raw)
            rows = block if moved is None else moved
            shared = group.scanner is self.raw_scanner
            statistics = raw if shared else group.scanner.statistics(rows, ids)
            sharing = [i for i, _ in group.members if not self.recipes[i].second.moves]
            if sharing:
                yield sharing[0], moved, None, None
            for index, state in group.members:
                r = self.recipes[index]
                vectors, bias = r.second.compile(r.second_params, state, rows, statistics)
                if bias is None:
                    bias = own_bias
                else:
                    bias = group.moved.fold(moved if vectors is None else vectors, bias)
                flag = None
                if r.second.dynamic:
                    assert statistics.query is not None
                    flag = statistics.query.margins[r.second_params["k"]] >= FLAG_MARGIN
                yield index, vectors, bias, flag


def _allocate(rows: Array, recipes: Sequence[Recipe]) -> list[Applied]:
    """Arrays for the values of all rows under each recipe. The vectors are `rows` if the recipe
    moves nothing; recipes of a group share them, unless the second method moves them too."""
    n = rows.shape[0]
    shared: dict[Any, Array] = {}
    out = []
    for r in recipes:
        vectors = rows
        if r.second.moves:
            vectors = empty_like(rows, tuple(rows.shape), "float32")
        elif r.moves:
            if r.key not in shared:
                shared[r.key] = empty_like(rows, tuple(rows.shape), "float32")
            vectors = shared[r.key]
        flag = full_like(rows, (n,), False, "bool") if r.dynamic else None
        out.append(Applied(vectors, full_like(rows, (n,), 0.0, "float32"), flag))
    return out
