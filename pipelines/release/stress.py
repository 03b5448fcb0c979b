"""Stress evaluation: how a release answers changed, damaged and translated queries.

Four parts, all on samples of the test split, with 95% bootstrap intervals over their clusters:

- *composition* (Structure-CLIP, Huang et al. 2024; Cola, Ray et al. 2023; Winoground, Thrush et al.
  2022): is an image or a recording nearer to its own text than to the same text with two words
  exchanged, or with a foreign word inserted? Equal scores count half. A bag of words scores 0.5.
- *damage*: what queries lose in reciprocal rank with a half of their content dropped, or corrupted.
- *consistency* (XModBench, Wang et al. 2025): the same sample asked by each of its other parts, and
  by both together: differences in reciprocal rank, and the variance of log2 of the ranks.
- *imbalance*: the reciprocal ranks of one direction less those of the reverse direction.

Ranks are those of corrected searches of the whole galleries, and end at `DEPTH`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from pipelines.release import damaged_inputs as damaged
from pipelines.release.query_samples import (
    DEPTH,
    QuerySamples,
    Values,
    draw_query_samples,
    encode,
    intervals,
    ranks_of,
    read_inputs,
    reciprocal,
)
from store.corrections.evaluate import TIE_DECIMALS
from store.metrics.intervals import bootstrap
from store.search.opened import OpenRelease

SAMPLES = 200
CHANCE = 0.5  # of the composition part
Figures = dict[str, Any]


def stress(opened: OpenRelease, samples: int = SAMPLES) -> Figures:
    """Evaluate a release under stress.

    Args:
        opened: the release, with its encoders. Nothing is written to its query log.
        samples: the largest number of test samples.

    Returns:
        JSON values: `samples`, and the parts `composition`, `damage`, `consistency` and
        `imbalance`, each by direction, gallery or pair of modalities. Intervals have `mean`, `low`
        and `high`. `passes` says whether the interval of a composition part lies above 0.5.

    Raises:
        NotFoundError: the release has no test samples.
        EncoderError: the release's encoders cannot be loaded.
    """
    quiet = OpenRelease(opened.tables, opened.encoders, number=opened.release.number)
    drawn = draw_query_samples(quiet, samples, "test")
    inputs = read_inputs(quiet, drawn)
    rng = np.random.default_rng(0)
    vectors = {m: encode(quiet, m, values) for m, values in inputs.items()}
    directions = [(a, b) for a in vectors for b in quiet.release.modalities if a != b]
    ranks = {
        pair: ranks_of(quiet, drawn, {pair[0]: vectors[pair[0]]}, pair[1]) for pair in directions
    }
    return {
        "samples": len(drawn.ids),
        "composition": _compositions(quiet, drawn, inputs, vectors, rng),
        "damage": _damage(quiet, drawn, inputs, ranks, rng),
        "consistency": _consistency(quiet, drawn, vectors, ranks),
        "imbalance": _imbalance(drawn, ranks),
    }


def composition(
    encode_texts: Callable[[Values], np.ndarray],
    texts: Sequence[str],
    partners: np.ndarray,
    clusters: np.ndarray,
    rng: np.random.Generator,
) -> Figures:
    """How often a partner is nearer to its text than to a changed one.

    Args:
        encode_texts: gives unit vectors (n, d).
        texts: (n,) of the samples.
        partners: (n, d) unit vectors of the samples' other parts.
        clusters: (n,) of the samples.
        rng: chooses words.
    """
    foreign = sorted(set().union(*map(damaged.words_of, texts)))
    figures: Figures = {"samples": len(texts)}
    own = encode_texts(list(texts))
    changed: dict[str, Values] = {
        "swapped": [damaged.swap_words(text, rng) for text in texts],
        "inserted": [_with_foreign_word(text, foreign, rng) for text in texts],
    }
    for name, values in changed.items():
        rows = np.array([n for n, value in enumerate(values) if value is not None], np.int64)
        if not len(rows):
            continue
        other = encode_texts([values[n] for n in rows])
        gaps = np.einsum("nd,nd->n", partners[rows], own[rows] - other)
        right = 0.5 + 0.5 * np.sign(np.round(gaps, TIE_DECIMALS))
        interval = bootstrap(right, groups=clusters[rows])
        figures[name] = {**interval._asdict(), "passes": interval.low > CHANCE, "texts": len(rows)}
    return figures


def _with_foreign_word(text: str, words: list[str], rng: np.random.Generator) -> str | None:
    others = [word for word in words if word not in damaged.words_of(text)]
    return (
        damaged.insert_word(text, others[int(rng.integers(len(others)))], rng) if others else None
    )


def _compositions(
    opened: OpenRelease,
    drawn: QuerySamples,
    inputs: Mapping[str, Values],
    vectors: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> Figures:
    figures = {}
    for modality in vectors:
        rows = drawn.having("text", modality)
        if modality != "text" and len(rows):
            texts = [inputs["text"][n] for n in rows]
            figures[f"text and {modality}"] = composition(
                lambda values: encode(opened, "text", values),
                texts,
                vectors[modality][rows],
                drawn.clusters[rows],
                rng,
            )
    return figures


def _damage(
    opened: OpenRelease,
    drawn: QuerySamples,
    inputs: Mapping[str, Values],
    ranks: Mapping[tuple[str, str], np.ndarray],
    rng: np.random.Generator,
) -> Figures:
    """The reciprocal ranks of whole queries, and what damaged ones lose."""
    makers: dict[str, dict[str, Callable[[Any], Any]]] = {
        "text": {
            "dropped": damaged.drop_words,
            "corrupted": lambda v: damaged.corrupt_text(v, rng),
        },
        "image": {
            "dropped": damaged.crop_image,
            "corrupted": lambda v: damaged.corrupt_image(v, rng),
        },
        "audio": {
            "dropped": damaged.cut_audio,
            "corrupted": lambda v: damaged.corrupt_audio(v, rng),
        },
    }
    figures: Figures = {}
    for modality, values in inputs.items():
        for name, damage in makers[modality].items():
            vectors = encode(
                opened, modality, [None if value is None else damage(value) for value in values]
            )
            for (query, gallery), whole in ranks.items():
                if query == modality and not np.isnan(whole).all():
                    ranked = ranks_of(opened, drawn, {modality: vectors}, gallery)
                    of = figures.setdefault(f"{query}->{gallery}", {})
                    before, after = reciprocal(whole), reciprocal(ranked)
                    of |= intervals({"whole": before, name: after - before}, drawn)
    return figures


def _consistency(
    opened: OpenRelease,
    drawn: QuerySamples,
    vectors: Mapping[str, np.ndarray],
    ranks: Mapping[tuple[str, str], np.ndarray],
) -> Figures:
    """The same samples asked by each of two other parts, and by both."""
    figures = {}
    for gallery in opened.release.modalities:
        others = [m for m in vectors if m != gallery]
        if len(others) < 2 or not len(drawn.having(*others, gallery)):
            continue
        first, second = (ranks[m, gallery] for m in others)
        both = ranks_of(opened, drawn, {m: vectors[m] for m in others}, gallery)
        by = {others[0]: first, others[1]: second, " + ".join(others): both}
        is_drawn = ~np.isnan(both)
        values = {name: np.where(is_drawn, reciprocal(own), np.nan) for name, own in by.items()}
        values["disparity"] = values[others[0]] - values[others[1]]
        ends = np.minimum([first, second], DEPTH + 1)
        values["rank variance"] = np.var(np.log2(ends), axis=0)
        figures[gallery] = {"samples": int(is_drawn.sum()), **intervals(values, drawn)}
    return figures


def _imbalance(drawn: QuerySamples, ranks: Mapping[tuple[str, str], np.ndarray]) -> Figures:
    """The reciprocal ranks of each direction less those of the reverse direction."""
    figures: Figures = {}
    present = dict.fromkeys(modality for modality, _ in ranks)
    for a, b in combinations(present, 2):
        if (a, b) in ranks and (b, a) in ranks and len(drawn.having(a, b)):
            difference = reciprocal(ranks[a, b]) - reciprocal(ranks[b, a])
            figures |= intervals({f"{a}->{b} less {b}->{a}": difference}, drawn)
    return figures
