"""Compute the statistics of both banks for gallery rows, for several methods at once."""

from collections.abc import Iterable
from functools import cached_property, reduce
from operator import or_

import numpy as np

from store.corrections.kernels.arrays import Array, full_like, namespace
from store.corrections.kernels.bank_scan import Needs, ScanResult, scan
from store.corrections.kernels.masks import IdIndex
from store.corrections.kernels.threads import Span, for_each_span, spans
from store.corrections.method import BankStatistics, FitBanks, Method, Params
from store.errors import InputError


class BankScanner:
    """Computes all bank statistics that a set of methods needs, with one scan of each bank.

    Attributes:
        weights: beta -> (m,) weights of the bank queries; whoever computes the states of the
            methods adds them before the first scan.
    """

    def __init__(self, banks: FitBanks, methods: Iterable[tuple[Method, Params]]):
        methods = list(methods)
        self.banks = banks
        self.query_needs = reduce(or_, (m.query_needs(p) for m, p in methods), Needs())
        self.gallery_needs = reduce(or_, (m.gallery_needs(p) for m, p in methods), Needs())
        self.query_index = IdIndex(banks.query_ids)
        self.gallery_index = IdIndex(banks.gallery_ids)
        self.thresholds = self._thresholds()
        self.weights: dict[float, Array] = {}

    def _thresholds(self) -> dict[int, Array]:
        """k -> tau_b (m,): the k-th largest similarity of each bank query to the gallery bank.

        It is infinite for a bank query that has no unmasked bank item, so this query flags no item.
        """
        ks = self.query_needs.margins
        if not ks:
            return {}
        queries, ids = self.banks.query, self.banks.query_ids
        xp = namespace(queries)
        out = {k: full_like(queries, (queries.shape[0],), np.inf, "float32") for k in ks}

        def work(span: Span) -> None:
            rows = slice(*span)
            masked = self.gallery_index.pairs(None if ids is None else ids[rows])
            result = scan(queries[rows], self.banks.gallery, Needs(k=max(ks)), masked=masked)
            for k in ks:
                out[k][rows] = xp.where(result.unmasked > 0, result.kth(k), np.inf)

        for_each_span(work, queries.shape[0], queries)
        return out

    def statistics(self, rows: Array, ids: np.ndarray | None) -> BankStatistics:
        """Bank statistics for a block of gallery rows.

        A row whose bank rows are all masked gets the mean of the statistics for the items of the
        gallery bank. This is neutral and depends on no other gallery row.

        Args:
            rows: (n, d) float32 of unit length.
            ids: (n,) ids that mask bank rows with the same id, or None.

        Raises:
            InputError: a mean is needed, but there is no gallery bank.
        """
        result = self._scan(rows, ids)
        for side, bank_result in enumerate(result):
            if bank_result is not None and bool((bank_result.unmasked == 0).any()):
                _fill_masked_rows(bank_result, self._gallery_bank_results[side])
        return result

    def _scan(self, rows: Array, ids: np.ndarray | None) -> BankStatistics:
        query = gallery = None
        if self.query_needs:
            masked = self.query_index.pairs(ids)
            query = scan(
                rows,
                self.banks.query,
                self.query_needs,
                masked=masked,
                thresholds=self.thresholds,
                weights=self.weights,
            )
        if self.gallery_needs:
            masked = self.gallery_index.pairs(ids)
            gallery = scan(rows, self.banks.gallery, self.gallery_needs, masked=masked)
        return BankStatistics(query, gallery)

    @cached_property
    def _gallery_bank_results(self) -> list[list[ScanResult]]:
        """For each bank, its statistics for the items of the gallery bank, in blocks.

        They are masked by id, or unmasked if the masks leave no bank row at all.
        """
        items, ids = self.banks.gallery, self.banks.gallery_ids
        if items is None:
            raise InputError(
                "a gallery row has the same id as every row of the query bank, so no bank row is "
                "left to fit it on: give gallery_bank, or a query bank of more samples"
            )
        out = []
        for side in (0, 1):
            for mask_ids in (ids, None):
                blocks = [
                    self._scan(items[i:j], None if mask_ids is None else mask_ids[i:j])[side]
                    for i, j in spans(items.shape[0])
                ]
                results = [block for block in blocks if block is not None]
                if any(bool((result.unmasked > 0).any()) for result in results):
                    break
            out.append(results)
        return out


def _fill_masked_rows(result: ScanResult, others: list[ScanResult]) -> None:
    """Give the rows of `result` without unmasked bank rows the mean statistics of `others`."""
    xp = namespace(result.unmasked)
    all_masked = result.unmasked == 0
    valid = xp.concatenate([other.unmasked for other in others]) > 0
    for beta in result.lse:
        sums = xp.concatenate([other.log_sum_exp(beta) for other in others])
        result.lse[beta] = xp.where(all_masked, sums[valid].mean(), result.lse[beta])
    if result.top is not None:
        top = xp.concatenate([other.top for other in others])[valid]
        exists = top > -np.inf
        count = exists.sum(axis=0)
        mean = xp.where(exists, top, 0.0).sum(axis=0) / xp.where(count > 0, count, 1)
        mean = xp.where(count > 0, mean, -np.inf)
        result.top = xp.where(all_masked[:, None], mean[None, :], result.top)
