"""Which correction each direction gets: chosen on held-out pairs, or raw with the reason why."""

import json
from dataclasses import dataclass

import numpy as np

from pipelines.bank_rows import Banks
from store.corrections import METHODS, Prepared, prepare_many
from store.corrections.selection import select
from store.releases import Direction

LEAST_BANK = 16


@dataclass(frozen=True)
class Gallery:
    """What is searched: unit vectors (n, d), clusters (n,), part ids (n,) sorted."""

    vectors: np.ndarray
    clusters: np.ndarray
    parts: np.ndarray

    def rows(self, parts: set[str]) -> list[int]:
        """Rows of the given parts; those that are not in the gallery are left out."""
        wanted = np.array(sorted(parts), dtype=str)
        place = np.searchsorted(self.parts, wanted)
        place[place == len(self.parts)] = 0
        return [int(p) for p, part in zip(place, wanted, strict=True) if self.parts[p] == part]


def choose(
    banks: Banks,
    query: str,
    gallery_modality: str,
    gallery: Gallery,
    methods: tuple[str, ...],
    seed: int,
) -> tuple[Direction, Prepared | None]:
    """The correction of one direction, and what it needs to be applied (None where it is raw)."""
    asks, asks_clusters, _ = banks.part("bank", query)
    items, items_clusters, _ = banks.part("bank", gallery_modality)

    def raw(reason: str, pairs: int, tried: list[dict]) -> tuple[Direction, None]:
        mean, std = _unrelated(asks, asks_clusters, items, items_clusters, None)
        return Direction(
            query, gallery_modality, "none", {}, reason, pairs, 0.0, mean, std, tried
        ), None

    if query == gallery_modality:
        return raw("within one modality there are no held-out pairs to choose by", 0, [])
    pairs = banks.pairs("validation", query, gallery_modality)
    if len(asks) < LEAST_BANK or len(items) < LEAST_BANK or not pairs:
        return raw(f"the corpus has too few pairs: {len(asks)} in the bank", len(pairs), [])
    vectors, _, parts = banks.part("validation", query)
    answers = [gallery.rows(pairs.get(part, set())) for part in parts]
    selection = select(
        gallery=gallery.vectors,
        query_bank=asks,
        gallery_bank=items,
        queries=vectors,
        relevant=answers,
        gallery_ids=gallery.clusters,
        query_bank_ids=asks_clusters,
        gallery_bank_ids=items_clusters,
        methods=methods,
        seed=seed,
    )
    tried = json.loads(json.dumps(selection.table, default=float))
    used = sum(bool(a) for a in answers)
    if selection.method == "none":
        return raw(selection.reason, used, tried)
    prepared = prepare_many(
        [(selection.method, selection.params)],
        query_bank=asks,
        gallery_bank=items,
        query_bank_ids=asks_clusters,
        gallery_bank_ids=items_clusters,
    )
    mean, std = _unrelated(asks, asks_clusters, items, items_clusters, prepared)
    least = float(np.min(selection.correction.bias))
    return Direction(
        query,
        gallery_modality,
        selection.method,
        json.loads(json.dumps(selection.params, default=float)),
        selection.reason,
        used,
        least,
        mean,
        std,
        tried,
    ), prepared


def check_methods(methods: tuple[str, ...]) -> None:
    """Raise ConfigError where corpus.yaml names a correction that cannot be compiled."""
    from store.errors import ConfigError

    for method in methods:
        if method not in METHODS or METHODS[method].moves or METHODS[method].dynamic:
            allowed = [n for n, m in METHODS.items() if not (m.moves or m.dynamic)]
            raise ConfigError(
                f"corpus.yaml: corrections.methods: {method!r} cannot be compiled; allowed:"
                f" {', '.join(allowed)}"
            )


def _unrelated(
    asks: np.ndarray,
    asks_clusters: np.ndarray,
    items: np.ndarray,
    items_clusters: np.ndarray,
    prepared: Prepared | None,
) -> tuple[float, float]:
    """Mean and deviation of the (corrected) scores of bank pairs that do not belong together."""
    if not len(asks) or not len(items):
        return 0.0, 1.0
    asks, asks_clusters = asks[:1000], asks_clusters[:1000]
    items, items_clusters = items[:1000], items_clusters[:1000]
    scores = asks @ items.T
    if prepared is not None:
        applied = prepared.apply(items, items_clusters)[0]
        scores = asks @ applied.vectors.T - applied.bias
    apart = scores[asks_clusters[:, None] != items_clusters[None, :]]
    return (float(apart.mean()), float(apart.std()) or 1.0) if apart.size else (0.0, 1.0)
