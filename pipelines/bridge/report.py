"""What a bridge retains: bridged queries beside the old encoders, and beside full re-embedding.

Every system is measured in the same way, on test pairs that no bridge and no correction has seen:
its correction is chosen and fitted anew on its own queries, and the gallery is searched without the
items of the bank.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lance
import numpy as np
import pyarrow.compute as pc

from pipelines.banks.labelled_queries import Gallery
from pipelines.gallery.choose_correction import choose_correction
from pipelines.gallery.fit import FitPlan, FitSpec, apply_fits
from pipelines.gallery.read_back import read_compiled
from pipelines.release.evaluate import labelled_test_queries, measure
from store.arrays import lookup
from store.config.corrections import Corrections
from store.corrections import Correction, Evaluation
from store.metrics.intervals import bootstrap, bootstrap_many
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.lance_tables import Tables
from store.tables.releases import Release

MEASURES = ("r@1", "r@10", "mrr")
RETAINED_OF = ("old", "new")  # the systems that bridged queries are compared with
MOST_ITEMS = 100_000  # of a gallery; of larger ones, random items and all right answers
_CHOICE_ITEMS = 10_000


@dataclass(frozen=True)
class System:
    """Galleries, and the banks of the queries that search them.

    Attributes:
        release: that has the galleries.
        banks: with the queries of the system (`Banks.asked`).
    """

    release: Release
    banks: Banks


@dataclass(frozen=True)
class _Measured:
    """The test queries of one direction of a system."""

    parts: np.ndarray
    clusters: np.ndarray
    items: int
    method: str
    raw: Evaluation
    corrected: Evaluation

    def values(self, parts: np.ndarray) -> dict[str, np.ndarray]:
        """The measures of some of the queries, raw and corrected, such as "corrected r@1"."""
        rows = lookup(self.parts, parts)
        return {
            f"{side} {name}": evaluation.measures()[name][rows]
            for side, evaluation in (("raw", self.raw), ("corrected", self.corrected))
            for name in MEASURES
        }


def compare(
    tables: Tables, systems: Mapping[str, System], settings: Corrections, modalities: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compare the systems in each direction between two modalities.

    Args:
        tables: of the corpus.
        systems: "old", "bridged" and, if the new space has a release, "new".
        settings: the section `corrections` of corpus.yaml.
        modalities: of the queries.

    Yields:
        The name of a direction, and JSON values: `queries`, `items`; for each system `method` and
        intervals (mean, low, high) by measure, such as "corrected r@10"; and `retained`, for each
        of the other systems the share of its measure that bridged queries have.
    """
    for query in modalities:
        for gallery in systems["old"].release.modalities:
            if query == gallery:
                continue
            measured = {
                name: found
                for name, system in systems.items()
                if gallery in system.release.modalities
                and (found := _measure(tables, system, settings, query, gallery)) is not None
            }
            if {"old", "bridged"} <= measured.keys():
                yield f"{query}->{gallery}", _figures(measured)


def retained(
    values: np.ndarray, reference: np.ndarray, clusters: np.ndarray
) -> dict[str, float | None]:
    """The share that the mean of `values` (m,) is of that of `reference` (m,), with an interval.

    The interval is that of the linearised ratio: of the mean of r + (v - r u) / mean(u), with
    values v, reference u and r their ratio. Without a reference above zero, all are None.
    """
    mean = float(np.mean(reference))
    if not mean:
        return dict.fromkeys(("mean", "low", "high"))
    ratio = float(np.mean(values)) / mean
    linear = ratio + (values - ratio * reference) / mean
    return bootstrap(linear, groups=clusters)._asdict()


def _figures(measured: Mapping[str, _Measured]) -> dict[str, Any]:
    """The figures of one direction, on the queries that all systems have."""
    parts = measured["bridged"].parts
    for other in measured.values():
        parts = parts[np.isin(parts, other.parts)]
    clusters = measured["old"].clusters[lookup(measured["old"].parts, parts)]
    values = {name: each.values(parts) for name, each in measured.items()}
    figures: dict[str, Any] = {"queries": len(parts), "items": measured["old"].items}
    for name, each in measured.items():
        intervals = bootstrap_many(values[name], groups=clusters)
        figures[name] = {"method": each.method, **{m: i._asdict() for m, i in intervals.items()}}
    figures["retained"] = {
        name: {m: retained(values["bridged"][m], own, clusters) for m, own in values[name].items()}
        for name in RETAINED_OF
        if name in values
    }
    return figures


def _measure(
    tables: Tables, system: System, settings: Corrections, query: str, modality: str
) -> _Measured | None:
    """Rank the test queries of a direction, raw and by a correction that is fitted to the system.

    None if there are no test queries with an answer.
    """
    release, banks = system.release, system.banks
    dataset = tables.open(release.gallery(modality), version=release.tag)
    gallery = _read(dataset, banks, query, modality, release.dim)
    chosen = choose_correction(banks, query, modality, _choice(gallery, banks), settings)
    in_bank = [banks.items(modality).clusters, banks.queries(query).clusters]
    searched = gallery.take(gallery.without(np.concatenate(in_bank)))
    test = labelled_test_queries(banks, chosen, searched)
    if not test.answered:
        return None
    nothing = np.zeros(len(searched.parts), np.float32)
    raw = measure(Correction("none", {}, searched.vectors, nothing), test)
    corrected = raw
    if chosen.method != "none":
        spec = FitSpec(chosen.method, chosen.params, banks.queries(query), banks.items(modality))
        fitted = apply_fits(FitPlan.of({"": spec}), searched.vectors, searched.clusters)[""]
        corrected = measure(Correction(chosen.method, chosen.params, *fitted), test)
    items = len(searched.parts)
    return _Measured(test.parts, test.clusters, items, chosen.method, raw, corrected)


def _read(
    dataset: lance.LanceDataset, banks: Banks, query: str, modality: str, dim: int
) -> Gallery:
    """The items of a gallery; of a large one, random ones and those of the held-out pairs."""
    parts = None
    if dataset.count_rows() > MOST_ITEMS:
        ids = dataset.to_table(columns=["part_id"])["part_id"].combine_chunks()
        held = [banks.part(split, modality).parts for split in ("validation", "test")]
        smallest = ids.take(pc.sort_indices(ids)[:MOST_ITEMS])  # ids are hashes: a random draw
        parts = pc.unique(
            pc.cast(np.concatenate([smallest.to_numpy(zero_copy_only=False), *held]), "string")
        )
    raw = Direction(query, modality, "none", {}, "", 0)
    return read_compiled(dataset, raw, dim, parts)[0]


def _choice(gallery: Gallery, banks: Banks) -> Gallery:
    """The items that a correction is chosen on: those of validation pairs, and others."""
    validation = banks.select(["cluster"], split="validation")["cluster"].to_pylist()
    kept = np.isin(gallery.clusters, sorted(set(validation)))
    kept[:_CHOICE_ITEMS] = True
    return gallery.take(kept)
