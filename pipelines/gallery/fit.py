"""Fit corrections to stored vectors, tile by tile, on the workers of a Ray cluster.

A worker measures the corrections on the banks once and keeps the result. Tiles of the gallery then
pass through. So the gallery-by-bank matrix is never built, and no process holds the whole gallery.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray

from store import identity
from store.arrow import as_matrix
from store.corrections import Applied, Prepared, prepare_many
from store.corrections.method import Params
from store.corrections.recipe import Recipe, recipe
from store.tables.banks import Bank
from store.tables.table_version import TableVersion, take_rows

TILE = 8192  # gallery rows a task: 16 MB of vectors of 512 dims


@dataclass(frozen=True)
class FitSpec:
    """A correction, and the banks that it is measured on."""

    method: str
    params: Params
    queries: Bank
    items: Bank

    @property
    def recipe(self) -> Recipe:
        return recipe(self.method, self.params)


@dataclass(frozen=True)
class FitPlan:
    """The corrections of one gallery by name.

    Attributes:
        by_name: those with the same banks are fitted in one pass over them.
        key: a hash of the corrections and their banks; workers cache what they measured under it.
    """

    by_name: Mapping[str, FitSpec]
    key: str

    @staticmethod
    def of(by_name: Mapping[str, FitSpec]) -> "FitPlan":
        facts = [
            (name, spec.method, spec.params, _digest(spec.queries), _digest(spec.items))
            for name, spec in by_name.items()
        ]
        return FitPlan(by_name, identity.run_key(facts))

    def prepare(self) -> list[tuple[list[str], Prepared]]:
        """Measure the corrections on their banks, on the task's GPU if it has one.

        Returns:
            For each pair of banks: the names of its corrections, and these, prepared together.
        """
        names_by_banks: dict[tuple[int, int], list[str]] = {}
        for name, spec in self.by_name.items():
            banks = (id(spec.queries.vectors), id(spec.items.vectors))
            names_by_banks.setdefault(banks, []).append(name)
        results = []
        for names in names_by_banks.values():
            first = self.by_name[names[0]]
            prepared = prepare_many(
                [(self.by_name[name].method, self.by_name[name].params) for name in names],
                query_bank=_on_device(first.queries.vectors),
                gallery_bank=_on_device(first.items.vectors),
                query_bank_ids=first.queries.clusters,
                gallery_bank_ids=first.items.clusters,
            )
            results.append((names, prepared))
        return results


@dataclass(frozen=True)
class VectorRows:
    """Rows of one version of a table of vectors.

    Attributes:
        table: its version.
        ids: (n,) row ids.
        clusters: (n,) the cluster of each row.
    """

    table: TableVersion
    ids: np.ndarray
    clusters: np.ndarray = field(repr=False)

    def vectors(self) -> np.ndarray:
        """(n, d) float32, as stored."""
        return as_matrix(take_rows(self.table, self.ids.tolist(), ["vector"])["vector"])


def apply_fits(specs: FitPlan, vectors: np.ndarray, clusters: np.ndarray) -> dict[str, Applied]:
    """Apply each correction to gallery rows; to be called in a worker.

    The first call in a worker measures the corrections on the banks; later calls reuse that.

    Args:
        vectors: (n, d) unit rows.
        clusters: (n,) the cluster of each row; bank rows of the same cluster are masked.

    Returns:
        The corrected rows by the name of the correction.
    """
    if specs.key not in _PREPARED:
        _PREPARED.clear()
        _PREPARED[specs.key] = specs.prepare()
    return {
        name: applied
        for names, prepared in _PREPARED[specs.key]
        for name, applied in zip(names, prepared.apply(vectors, clusters), strict=True)
    }


_PREPARED: dict[str, list[tuple[list[str], Prepared]]] = {}  # a worker's cache, of one gallery


def _on_device(bank: np.ndarray) -> Any:
    if not ray.is_initialized() or not ray.get_gpu_ids():
        return bank
    import torch

    return torch.from_numpy(np.ascontiguousarray(bank)).cuda()


def _digest(bank: Bank) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(bank.vectors).data, digest_size=16)
    digest.update("\n".join(bank.clusters).encode())
    return digest.hexdigest()
