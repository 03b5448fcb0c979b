"""Looks at both banks from gallery rows, on behalf of several methods at once."""

from collections.abc import Iterable
from functools import cached_property, reduce
from operator import or_

import numpy as np

from store.corrections.kernels.arrays import Array, full_like, namespace
from store.corrections.kernels.bank_scan import Needs, ScanResult, scan
from store.corrections.kernels.masks import IdIndex
from store.corrections.kernels.threads import Span, blocks, each
from store.corrections.method import BankStatistics, FitBanks, Method, Params
from store.errors import InputError


class Observer:
    """What the given methods need to see of the banks, seen in one scan of each."""

    def __init__(self, banks: FitBanks, uses: Iterable[tuple[Method, Params]]):
        uses = list(uses)
        self.banks = banks
        self.query_needs = reduce(or_, (m.query_needs(p) for m, p in uses), Needs())
        self.gallery_needs = reduce(or_, (m.gallery_needs(p) for m, p in uses), Needs())
        self.query_index = IdIndex(banks.query_ids)
        self.gallery_index = IdIndex(banks.gallery_ids)
        self.thresholds = self._thresholds()

    def _thresholds(self) -> dict[int, Array]:
        """tau_b (|B|,) for each k: the k-th best similarity of each bank query to the gallery bank.

        A query with nothing to compare with flags nothing.
        """
        ks = self.query_needs.margins
        if not ks:
            return {}
        queries, known = self.banks.query, self.banks.query_ids
        xp = namespace(queries)
        out = {k: full_like(queries, (queries.shape[0],), np.inf, "float32") for k in ks}

        def work(span: Span) -> None:
            here = slice(*span)
            masked = self.gallery_index.pairs(None if known is None else known[here])
            seen = scan(queries[here], self.banks.gallery, Needs(k=max(ks)), masked=masked)
            for k in ks:
                out[k][here] = xp.where(seen.left > 0, seen.kth(k), np.inf)

        each(work, queries.shape[0], queries)
        return out

    def look(self, rows: Array, ids: np.ndarray | None) -> BankStatistics:
        """What a block of unit rows sees; a row whose every bank entry is masked sees the mean of
        what the gallery bank's items see, which is neutral and depends on no other gallery row.
        """
        seen = self._look(rows, ids)
        for side, view in enumerate(seen):
            if view is not None and bool((view.left == 0).any()):
                _fill(view, self._neutral[side])
        return seen

    def _look(self, rows: Array, ids: np.ndarray | None) -> BankStatistics:
        query = gallery = None
        if self.query_needs:
            masked = self.query_index.pairs(ids)
            query = scan(
                rows, self.banks.query, self.query_needs, masked=masked, thresholds=self.thresholds
            )
        if self.gallery_needs:
            masked = self.gallery_index.pairs(ids)
            gallery = scan(rows, self.banks.gallery, self.gallery_needs, masked=masked)
        return BankStatistics(query, gallery)

    @cached_property
    def _neutral(self) -> list[list[ScanResult]]:
        """For each bank what the gallery bank's items see of it: masked, or, where that leaves
        nothing at all, unmasked."""
        items, ids = self.banks.gallery, self.banks.gallery_ids
        if items is None:
            raise InputError(
                "every query bank row shares its id with some gallery row, so there is nothing to "
                "measure that row by: give gallery_bank, or a query bank of more samples"
            )
        out = []
        for side in (0, 1):
            for known in (ids, None):
                seen = [
                    self._look(items[i:j], None if known is None else known[i:j])[side]
                    for i, j in blocks(items.shape[0])
                ]
                views = [view for view in seen if view is not None]
                if any(bool((view.left > 0).any()) for view in views):
                    break
            out.append(views)
        return out


def _fill(view: ScanResult, others: list[ScanResult]) -> None:
    """Where `view` saw nothing, put the mean of what `others` saw."""
    xp = namespace(view.left)
    blind = view.left == 0
    counted = xp.concatenate([other.left for other in others]) > 0
    for beta in view.lse:
        seen = xp.concatenate([other.log_sum_exp(beta) for other in others])
        view.lse[beta] = xp.where(blind, seen[counted].mean(), view.lse[beta])
    if view.top is not None:
        seen = xp.concatenate([other.top for other in others])[counted]
        there = seen > -np.inf
        count = there.sum(axis=0)
        mean = xp.where(there, seen, 0.0).sum(axis=0) / xp.where(count > 0, count, 1)
        mean = xp.where(count > 0, mean, -np.inf)
        view.top = xp.where(blind[:, None], mean[None, :], view.top)
