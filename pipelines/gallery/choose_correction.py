"""Choose the correction of one direction on held-out pairs, and put its scores on a common scale.

The result is a `Direction`: a method with its parameters and the reason for it, and the numbers by
which its scores are centred in the served vectors and compared with those of other galleries.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from pipelines.banks.labelled_queries import Gallery, labelled_queries
from pipelines.gallery.fit import FitPlan, FitSpec
from store.config.corrections import Corrections
from store.corrections import Prepared
from store.corrections.evaluate import subtract_bias
from store.corrections.method import Params
from store.corrections.recipe import recipe
from store.corrections.select import choose_method
from store.search.vector_layout import BIAS_SCALE
from store.tables.banks import MIN_BANK_SIZE, Bank, Banks
from store.tables.direction import Direction

CALIBRATION_ROWS = 1_000  # queries, and items, that scores are calibrated on
CALIBRATION_QUANTILE = 0.98


class _Choice(NamedTuple):
    method: str
    params: Params
    reason: str
    pairs: int = 0  # validation pairs that the choice was made on
    tried: Any = ()  # one row a setting that was compared


def choose_correction(
    banks: Banks,
    query: str,
    gallery_modality: str,
    gallery: Gallery,
    settings: Corrections,
) -> Direction:
    """Choose the correction of one direction, measure it on the banks and calibrate its scores.

    Args:
        banks: the banks of the space.
        query: modality of the queries.
        gallery_modality: modality of the gallery.
        gallery: the items that validation queries are ranked against. It may be a sample of the
            gallery that contains the right answers of the validation pairs.
        settings: the section `corrections` of corpus.yaml.
    """
    queries = banks.queries(query)
    items = banks.items(gallery_modality)
    choice = _choose(banks, query, gallery_modality, gallery, settings, queries, items)
    prepared = None
    if choice.method != "none":
        prepared = _prepare(FitSpec(choice.method, dict(choice.params), queries, items))
    zero, unit = calibrate(queries, items, prepared)
    # Parameters and figures are numpy values; the release stores them as JSON.
    params, tried = json.loads(json.dumps([dict(choice.params), list(choice.tried)], default=float))
    return Direction(
        query=query,
        gallery=gallery_modality,
        method=choice.method,
        params=params,
        reason=choice.reason,
        pairs=choice.pairs,
        zero=zero,
        unit=unit,
        centre=0.0 if prepared is None else _mean_bias(items, prepared),
        scale=BIAS_SCALE,
        tried=tried,
    )


def _choose(
    banks: Banks,
    query: str,
    gallery_modality: str,
    gallery: Gallery,
    settings: Corrections,
    queries: Bank,
    items: Bank,
) -> _Choice:
    """The method that corpus.yaml names, else the best on validation pairs, else raw scores."""
    configured = settings.directions.get(f"{query}->{gallery_modality}", "auto")
    if configured == "none":
        return _Choice("none", {}, "raw, because corpus.yaml says so")
    if len(queries.parts) < MIN_BANK_SIZE or len(items.parts) < MIN_BANK_SIZE:
        sizes = f"{len(queries.parts)} queries and {len(items.parts)} items"
        return _Choice(
            "none",
            {},
            f"raw, because the bank has {sizes}; at least {MIN_BANK_SIZE} of each are needed",
        )
    if configured != "auto":
        params = recipe(configured).params
        return _Choice(configured, params, f"{configured}, because corpus.yaml says so")
    validation = labelled_queries(banks, "validation", query, gallery_modality, gallery)
    if not validation.answered:
        return _Choice("none", {}, "raw, because there are no validation pairs to choose on")
    selection = choose_method(
        gallery=gallery.vectors,
        query_bank=queries.vectors,
        gallery_bank=items.vectors,
        queries=validation.vectors,
        relevant=validation.answers,
        gallery_ids=gallery.clusters,
        query_bank_ids=queries.clusters,
        gallery_bank_ids=items.clusters,
        exclude=validation.own_rows,
        methods=settings.methods,
        # Within a modality, pairs say little about what users search for, such as other items of
        # a category, and the default did harm there (docs/retrieval.md): a gain must be shown.
        own_bank=banks.is_own(query) and query != gallery_modality,
        seed=settings.seed,
    )
    return _Choice(
        selection.method,
        selection.params,
        selection.reason,
        validation.answered,
        selection.table,
    )


def fit_spec(banks: Banks, direction: Direction) -> FitSpec:
    """A direction's correction with the banks that it is measured on."""
    items = banks.items(direction.gallery)
    return FitSpec(direction.method, direction.params, banks.queries(direction.query), items)


def calibrate(queries: Bank, items: Bank, prepared: Prepared | None) -> tuple[float, float]:
    """Find the scale of a direction's scores, on bank queries and unrelated bank items.

    Result lists of several galleries are merged by (score - zero) / unit: 0 is the score of an
    average unrelated item, and 1 that of a query's most similar unrelated items.

    Args:
        prepared: the correction; None for raw scores.

    Returns:
        `zero`, the mean over queries of the mean score of unrelated items, and `unit`, the mean
        over queries of their 98% quantile, less `zero`; (0, 1) if the banks have no unrelated
        pairs, and a unit of 1 if it would not be positive.
    """
    query_rows, item_rows = queries.vectors[:CALIBRATION_ROWS], items.vectors[:CALIBRATION_ROWS]
    if not len(query_rows) or not len(item_rows):
        return 0.0, 1.0
    if prepared is None:
        scores = query_rows @ item_rows.T
    else:
        applied = prepared.apply(item_rows, items.clusters[:CALIBRATION_ROWS])[0]
        scores = query_rows @ applied.vectors.T
        subtract_bias(scores, applied.bias, applied.flag)
    is_unrelated = (
        queries.clusters[:CALIBRATION_ROWS, None] != items.clusters[None, :CALIBRATION_ROWS]
    )
    unrelated = [row[mask] for row, mask in zip(scores, is_unrelated, strict=True) if mask.any()]
    if not unrelated:
        return 0.0, 1.0
    zero = float(np.mean([row.mean() for row in unrelated]))
    unit = float(np.mean([np.quantile(row, CALIBRATION_QUANTILE) for row in unrelated])) - zero
    return zero, unit if unit > 0 else 1.0


def _prepare(spec: FitSpec) -> Prepared:
    ((_, prepared),) = FitPlan.of({"": spec}).prepare()
    return prepared


def _mean_bias(items: Bank, prepared: Prepared) -> float:
    return float(np.mean(prepared.apply(items.vectors, items.clusters)[0].bias))
