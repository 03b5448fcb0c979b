"""Which correction each direction gets: chosen on held-out pairs, or raw with the reason why."""

import json
from typing import Any

import numpy as np

from pipelines.banks.labelled_queries import Gallery, questions
from pipelines.gallery.fit import FitSpec, FitSpecs
from store.config.corrections import Corrections
from store.corrections import Prepared
from store.corrections.evaluate import corrected
from store.corrections.method import Params
from store.corrections.recipe import recipe
from store.corrections.select import choose_method
from store.tables.banks import LEAST_BANK, Bank, Banks
from store.tables.releases import Direction


def choose(
    banks: Banks,
    query: str,
    gallery_modality: str,
    gallery: Gallery,
    settings: Corrections,
) -> Direction:
    """The correction of one direction, chosen on validation pairs or named by corpus.yaml.

    `gallery` may be a sample that has the pairs' right answers in it.
    """
    queries = banks.queries(query)
    items = banks.items(gallery_modality)
    name = f"{query}->{gallery_modality}"
    named = settings.directions.get(name, "auto")

    def made(
        method: str, params: Params, reason: str, pairs: int = 0, tried: Any = ()
    ) -> Direction:
        fitted = None if method == "none" else FitSpec(method, dict(params), queries, items)
        prepared = None if fitted is None else _prepare(fitted)
        zero, unit = calibrate(queries, items, prepared)
        centre = 0.0 if prepared is None else _mean_bias(items, prepared)
        plain = json.loads(
            json.dumps({"params": dict(params), "tried": list(tried)}, default=float)
        )
        return Direction(
            query, gallery_modality, method, plain["params"], reason, pairs, zero, unit, centre,
            tried=plain["tried"],
        )  # fmt: skip

    if named == "none":
        return made("none", {}, "raw, because corpus.yaml says so")
    if len(queries.parts) < LEAST_BANK or len(items.parts) < LEAST_BANK:
        few = f"raw, because the bank has {len(queries.parts)} queries and {len(items.parts)} items"
        return made("none", {}, f"{few}: it takes {LEAST_BANK} of each")
    if named != "auto":
        return made(named, recipe(named).params, f"{named}, because corpus.yaml says so")
    asked = questions(banks, "validation", query, gallery_modality, gallery)
    if not asked.answered:
        why = "raw, because no held-out pairs are there to choose by"
        return made("none", {}, why)
    chosen = choose_method(
        gallery=gallery.vectors,
        query_bank=queries.vectors,
        gallery_bank=items.vectors,
        queries=asked.vectors,
        relevant=asked.answers,
        gallery_ids=gallery.clusters,
        query_bank_ids=queries.clusters,
        gallery_bank_ids=items.clusters,
        exclude=asked.own,
        methods=settings.methods,
        seed=settings.seed,
    )
    return made(chosen.method, chosen.params, chosen.reason, asked.answered, chosen.table)


def fit_spec(banks: Banks, direction: Direction) -> FitSpec:
    """A direction's correction with the banks that it is measured on."""
    items = banks.items(direction.gallery)
    return FitSpec(direction.method, direction.params, banks.queries(direction.query), items)


def _prepare(fitted: FitSpec) -> Prepared:
    ((_, prepared),) = FitSpecs.of({"": fitted}).prepare()
    return prepared


def _mean_bias(items: Bank, prepared: Prepared) -> float:
    return float(np.mean(prepared.apply(items.vectors, items.clusters)[0].bias))


MOST = 1_000
QUANTILE = 0.98


def calibrate(queries: Bank, items: Bank, prepared: Prepared | None) -> tuple[float, float]:
    """Zero and unit of a direction's (corrected) scores; 0 and 1 where the banks cannot tell."""
    asks, found = queries.vectors[:MOST], items.vectors[:MOST]
    if not len(asks) or not len(found):
        return 0.0, 1.0
    if prepared is None:
        scores = asks @ found.T
    else:
        applied = prepared.apply(found, items.clusters[:MOST])[0]
        scores = asks @ applied.vectors.T
        corrected(scores, applied.bias, applied.flag)
    apart = queries.clusters[:MOST, None] != items.clusters[None, :MOST]
    strangers = [row[there] for row, there in zip(scores, apart, strict=True) if there.any()]
    if not strangers:
        return 0.0, 1.0
    zero = float(np.mean([s.mean() for s in strangers]))
    unit = float(np.mean([np.quantile(s, QUANTILE) for s in strangers])) - zero
    return zero, unit if unit > 0 else 1.0
