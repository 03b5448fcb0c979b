"""fit: corrections fitted to stored vectors, tile by tile, on the workers of a Ray cluster.

A worker measures the banks once and keeps them; then tiles of the gallery stream past them. What is
never made is the gallery-by-bank matrix, and what is never held is the gallery.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray

from pipelines.engine.ray_tasks import in_order
from store import identity
from store.arrays import as_matrix
from store.corrections import Applied, Prepared, prepare_many
from store.corrections.method import Params
from store.corrections.recipe import Recipe, recipe
from store.tables.banks import Bank
from store.tables.lance_tables import take

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
class FitSpecs:
    """Corrections of one gallery by name; those that share their banks are fitted in one pass."""

    by_name: Mapping[str, FitSpec]
    key: str  # what workers know them by

    @staticmethod
    def of(by_name: Mapping[str, FitSpec]) -> "FitSpecs":
        facts = [
            (name, way.method, way.params, _digest(way.queries), _digest(way.items))
            for name, way in by_name.items()
        ]
        return FitSpecs(by_name, identity.run_key(facts))

    def prepare(self) -> list[tuple[list[str], Prepared]]:
        """The names that share banks, and their corrections measured on these: on a GPU where
        the worker was given one, else on the CPU."""
        shared: dict[tuple[int, int], list[str]] = {}
        for name, way in self.by_name.items():
            shared.setdefault((id(way.queries.vectors), id(way.items.vectors)), []).append(name)
        prepared = []
        for names in shared.values():
            way = self.by_name[names[0]]
            specs = [(self.by_name[n].method, self.by_name[n].params) for n in names]
            made = prepare_many(
                specs,
                query_bank=_on_device(way.queries.vectors),
                gallery_bank=_on_device(way.items.vectors),
                query_bank_ids=way.queries.clusters,
                gallery_bank_ids=way.items.clusters,
            )
            prepared.append((names, made))
        return prepared


@dataclass(frozen=True)
class Rows:
    """Rows of a table's version, by their row ids, and the clusters that they are of."""

    uri: str
    version: int
    ids: np.ndarray
    clusters: np.ndarray = field(repr=False)

    def vectors(self) -> np.ndarray:
        """(n, d) float32, as stored."""
        return as_matrix(take(self.uri, self.version, self.ids.tolist(), ["vector"])["vector"])

    def tiles(self, size: int) -> Iterator["Rows"]:
        """The same rows, a bounded number at a time."""
        for start in range(0, len(self.ids), size):
            here = slice(start, start + size)
            yield Rows(self.uri, self.version, self.ids[here], self.clusters[here])


def apply_fits(ways: FitSpecs, vectors: np.ndarray, clusters: np.ndarray) -> dict[str, Applied]:
    """What each correction makes of gallery rows (n, d), by name. Called in workers, which
    measure the banks on the first call and remember them."""
    if ways.key not in _MEASURED:
        _MEASURED.clear()
        _MEASURED[ways.key] = ways.prepare()
    return {
        name: applied
        for names, prepared in _MEASURED[ways.key]
        for name, applied in zip(names, prepared.apply(vectors, clusters), strict=True)
    }


_MEASURED: dict[str, list[tuple[list[str], Prepared]]] = {}


def fit_rows(
    rows: Rows, ways: FitSpecs, *, num_cpus: float = 1, num_gpus: float = 0, tile: int = TILE
) -> Iterator[dict[str, Applied]]:
    """Fit corrections to stored rows: tiles in their order, each with its values by name.

    Vectors that nothing moved are left out (their array is empty): they are where they were.
    """
    shared = ray.put(ways)
    task = _fit.options(num_cpus=num_cpus, num_gpus=num_gpus)
    yield from in_order(task.remote(part, shared) for part in rows.tiles(tile))


@ray.remote
def _fit(rows: Rows, ways: FitSpecs) -> dict[str, Applied]:
    vectors = rows.vectors()
    made = apply_fits(ways, vectors, rows.clusters)
    return {
        name: applied._replace(vectors=vectors[:0]) if applied.vectors is vectors else applied
        for name, applied in made.items()
    }


def _on_device(bank: np.ndarray) -> Any:
    if not ray.is_initialized() or not ray.get_gpu_ids():
        return bank
    import torch

    return torch.from_numpy(np.ascontiguousarray(bank)).cuda()


def _digest(bank: Bank) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(bank.vectors).data, digest_size=16)
    digest.update("\n".join(bank.clusters).encode())
    return digest.hexdigest()
