"""Choose the bridge of one modality: from texts alone first, and with pairs if they surely gain.

Of the maps of texts alone, the one with the largest mean cosine of held-out texts is taken; this
needs no pairs. It also maps images and recordings. With pairs, further maps are learned, linear
ones and such with a layer of random units: from texts, from the modality's own parts, from those of
all modalities, and from parts to the stored vectors of their partners. The best of them by mean
reciprocal rank of validation pairs takes the place of the first only if the 95% interval of its
gain lies above zero.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from embedders.alignment.bridge import Rows, bridge_maps, curved_maps, mean_cosines
from embedders.projection import Projection
from pipelines.banks.labelled_queries import Gallery, labelled_queries
from pipelines.bridge.known_parts import KnownParts
from store.corrections import Correction
from store.corrections.evaluate import evaluate
from store.metrics.intervals import paired_bootstrap
from store.tables.banks import Banks

TEXTS = "texts"
_MOST_QUERIES = 2_000  # validation pairs of a direction that a choice is made on


@dataclass(frozen=True)
class ChosenBridge:
    """The bridge of a modality.

    Attributes:
        projection: from the new space into the old one.
        name: what it was learned from and how, such as "texts, ridge 0.1".
        parts: the number of rows that it was learned from.
        reason: why it was chosen.
        tried: name and mean reciprocal rank of each map, best first; empty without pairs.
    """

    projection: Projection
    name: str
    parts: int
    reason: str
    tried: list[dict[str, Any]] = field(default_factory=list)


def text_bridge(texts: list[Rows], held_out: Rows) -> ChosenBridge:
    """The bridge of texts, from texts alone.

    Args:
        texts: that it is learned from.
        held_out: that the map is chosen on. If there are none, these are `texts`.

    Raises:
        InputError: there are too few texts.
    """
    judges = [held_out] if len(held_out) else texts
    maps = [
        (np.mean([mean_cosines(bridge, rows) for rows in judges]), name, bridge)
        for name, bridge in bridge_maps(texts)
    ]
    cosine, name, bridge = max(maps, key=lambda each: each[0])
    reason = f"mean cosine of {sum(map(len, judges))} texts with their stored vectors {cosine:.3f}"
    return ChosenBridge(bridge, f"{TEXTS}, {name}", sum(map(len, texts)), reason)


def choose_bridge(
    first: ChosenBridge,
    modality: str,
    known: Mapping[str, Mapping[str, KnownParts]],
    banks: Banks,
) -> ChosenBridge:
    """The bridge of a modality: `first`, unless pairs surely gain by another one.

    Args:
        first: from texts alone.
        modality: of the queries.
        known: parts by modality and split.
        banks: of the old space, with the vectors of items.
    """
    validation_parts = known[modality]["validation"]
    judged = [
        pairs
        for g in _others(banks, modality)
        if len(pairs := _Judged.of(banks, modality, g, validation_parts))
    ]
    if not judged:
        return first
    clusters = np.concatenate([pairs.clusters for pairs in judged])

    def reciprocal_ranks(bridge: Projection) -> np.ndarray:
        return np.concatenate([pairs.reciprocal_ranks(bridge) for pairs in judged])

    baseline = reciprocal_ranks(first.projection)
    tried = [(baseline, first)]
    for source, groups in _sources(modality, known, banks):
        # The linear maps of texts have been compared already.
        linear = [] if source == TEXTS else bridge_maps(groups)
        for name, bridge in chain(linear, curved_maps(groups)):
            made = ChosenBridge(bridge, f"{source}, {name}", sum(map(len, groups)), "")
            tried.append((reciprocal_ranks(bridge), made))
    tried.sort(key=lambda each: -float(each[0].mean()))
    table = [{"map": made.name, "mrr": float(ranks.mean())} for ranks, made in tried]
    best, chosen = tried[0]
    gain = paired_bootstrap(best, baseline, groups=clusters)
    figures = (
        f"{gain.mean:+.3f} in mean reciprocal rank over {first.name!r} on {len(best)} validation"
        f" queries, 95% interval {gain.low:+.3f} to {gain.high:+.3f}"
    )
    if gain.low > 0:
        return ChosenBridge(chosen.projection, chosen.name, chosen.parts, figures, table)
    reason = f"{first.reason}; {chosen.name!r} does not surely gain: {figures}"
    if chosen is first:
        reason = f"{first.reason}; no map from pairs ranks validation pairs better"
    return ChosenBridge(first.projection, first.name, first.parts, reason, table)


def _sources(
    modality: str, known: Mapping[str, Mapping[str, KnownParts]], banks: Banks
) -> Iterator[tuple[str, list[Rows]]]:
    """What maps are learned from: a name, and groups of rows that count equally."""
    bank = {m: parts["bank"] for m, parts in known.items() if len(parts["bank"].new)}
    if modality not in bank:
        return
    if "text" in bank:
        yield TEXTS, [bank["text"].rows]
    own = bank[modality].rows
    if modality != "text":
        yield f"own {modality}", [own]
    if len(bank) > 1:
        yield "all modalities", [parts.rows for parts in bank.values()]
    partners = [
        rows
        for g in _others(banks, modality)
        if len(
            rows := bank[modality].towards(banks.pairs("bank", modality, g), banks.part("bank", g))
        )
    ]
    if partners:
        yield "pairs", [own, *partners]


def _others(banks: Banks, modality: str) -> list[str]:
    """The other modalities of the old space."""
    return sorted(set(banks.table["modality"].to_pylist()) - {modality})


@dataclass(frozen=True)
class _Judged:
    """Validation queries of a direction, and the banks' items that they are ranked against."""

    new: np.ndarray
    answers: list[list[int]]
    clusters: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, banks: Banks, query: str, gallery: str, validation_parts: KnownParts) -> "_Judged":
        """The validation queries that have a vector in the new space and an answer."""
        banked, held = (banks.part(split, gallery) for split in ("bank", "validation"))
        parts, first = np.unique(np.concatenate([banked.parts, held.parts]), return_index=True)
        vectors = np.concatenate([banked.vectors, held.vectors])[first]
        clusters = np.concatenate([banked.clusters, held.clusters])[first]
        items = Gallery(vectors, clusters, parts)
        labelled = labelled_queries(banks, "validation", query, gallery, items).with_answers()
        row_of = {part: row for row, part in enumerate(validation_parts.bank.parts.tolist())}
        usable = [n for n, part in enumerate(labelled.parts.tolist()) if part in row_of]
        usable = usable[:_MOST_QUERIES]
        rows = [row_of[labelled.parts[n]] for n in usable]
        answers = [labelled.answers[n] for n in usable]
        return cls(validation_parts.new[rows], answers, labelled.clusters[usable], vectors)

    def __len__(self) -> int:
        return len(self.answers)

    def reciprocal_ranks(self, bridge: Projection) -> np.ndarray:
        """(m,) by raw scores."""
        raw = Correction("none", {}, self.items, np.zeros(len(self.items), np.float32))
        return evaluate(raw, bridge(self.new), self.answers).reciprocal_ranks
