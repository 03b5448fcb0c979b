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
from typing import Any, NamedTuple

import numpy as np

from pipelines.release import damaged_inputs as damaged
from store.corrections.evaluate import TIE_DECIMALS
from store.errors import NotFoundError
from store.metrics.intervals import bootstrap, bootstrap_many
from store.search.execute import run_query
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.sample_batches import read_samples
from store.tables.schema import MODALITIES

SAMPLES, DEPTH = 200, 1_000
CHANCE = 0.5  # of the composition part
Values = list[Any]
Figures = dict[str, Any]


class Asked(NamedTuple):
    """The test samples that queries are made of.

    Attributes:
        clusters: (n,) strings.
        parts: the part ids of each sample, by modality.
        inputs: by modality, n texts or files, None where a sample has no such part.
    """

    clusters: np.ndarray
    parts: list[dict[str, str]]
    inputs: dict[str, Values]

    def having(self, *modalities: str) -> np.ndarray:
        """The numbers of the samples that have parts of all these modalities."""
        return np.array(
            [n for n, parts in enumerate(self.parts) if parts.keys() >= set(modalities)], np.int64
        )


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
    asked = read_asked(quiet, samples)
    rng = np.random.default_rng(0)
    vectors = {m: encode(quiet, m, values) for m, values in asked.inputs.items()}
    directions = [(a, b) for a in vectors for b in quiet.release.modalities if a != b]
    ranks = {
        pair: ranks_of(quiet, asked, {pair[0]: vectors[pair[0]]}, pair[1]) for pair in directions
    }
    return {
        "samples": len(asked.parts),
        "composition": _compositions(quiet, asked, vectors, rng),
        "damage": _damage(quiet, asked, ranks, rng),
        "consistency": _consistency(quiet, asked, vectors, ranks),
        "imbalance": _imbalance(asked, ranks),
    }


def read_asked(opened: OpenRelease, most: int) -> Asked:
    """Read test samples with two parts or more, and their texts and files."""
    rows = opened.banks.select(["sample_id", "cluster", "modality", "part_id"], split="test")
    parts: dict[str, dict[str, str]] = {}
    clusters: dict[str, str] = {}
    for row in rows.to_pylist():
        parts.setdefault(row["sample_id"], {})[row["modality"]] = row["part_id"]
        clusters[row["sample_id"]] = row["cluster"]
    paired = sorted(sample for sample, own in parts.items() if len(own) > 1)
    ids = np.random.default_rng(0).permutation(paired)[:most].tolist()
    if not ids:
        raise NotFoundError(f"release {opened.release.number} has no test samples of two parts")
    inputs: dict[str, Values] = {m: [] for m in MODALITIES if any(m in parts[i] for i in ids)}
    for batch in read_samples(opened, ids):
        for row in batch.select(["id", *inputs]).to_pylist():
            for modality, values in inputs.items():
                values.append(row[modality] if modality in parts[row["id"]] else None)
    return Asked(np.array([clusters[i] for i in ids]), [parts[i] for i in ids], inputs)


def encode(opened: OpenRelease, modality: str, values: Sequence[Any]) -> np.ndarray:
    """The vectors (n, d) of inputs; NaN for None."""
    out = np.full((len(values), opened.release.dim), np.nan, np.float32)
    present = [n for n, value in enumerate(values) if value is not None]
    if present:
        out[present] = opened.encode({modality: [values[n] for n in present]})[modality]
    return out


def ranks_of(
    opened: OpenRelease, asked: Asked, vectors: Mapping[str, np.ndarray], gallery: str
) -> np.ndarray:
    """(n,) the rank of each sample's part in a gallery, asked by its vectors of some modalities.

    NaN if one of the parts is missing, `DEPTH` + 1 if the part is not in the list.
    """
    ranks = np.full(len(asked.parts), np.nan)
    rows = asked.having(*vectors, gallery)
    if len(rows):
        query = Query.of(vectors={m: v[rows] for m, v in vectors.items()}).among(gallery)
        found = run_query(opened, query.select("part_id").limit(DEPTH)).rows
        lists: dict[int, list[str]] = {}
        for number, part in zip(
            found["query"].to_pylist(), found["part_id"].to_pylist(), strict=True
        ):
            lists.setdefault(number, []).append(part)
        for number, row in enumerate(rows):
            listed, own = lists.get(number, []), asked.parts[row][gallery]
            ranks[row] = listed.index(own) + 1 if own in listed else DEPTH + 1
    return ranks


def reciprocal(ranks: np.ndarray) -> np.ndarray:
    """1 / rank, 0 for a part that is not in the list. NaN stays."""
    return np.where(ranks > DEPTH, 0.0, 1 / ranks)


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
    opened: OpenRelease, asked: Asked, vectors: Mapping[str, np.ndarray], rng: np.random.Generator
) -> Figures:
    figures = {}
    for modality in vectors:
        rows = asked.having("text", modality)
        if modality != "text" and len(rows):
            texts = [asked.inputs["text"][n] for n in rows]
            figures[f"text and {modality}"] = composition(
                lambda values: encode(opened, "text", values),
                texts,
                vectors[modality][rows],
                asked.clusters[rows],
                rng,
            )
    return figures


def _damage(
    opened: OpenRelease,
    asked: Asked,
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
    for modality, values in asked.inputs.items():
        for name, damage in makers[modality].items():
            vectors = encode(
                opened, modality, [None if value is None else damage(value) for value in values]
            )
            for (query, gallery), whole in ranks.items():
                if query == modality and not np.isnan(whole).all():
                    ranked = ranks_of(opened, asked, {modality: vectors}, gallery)
                    of = figures.setdefault(f"{query}->{gallery}", {})
                    before, after = reciprocal(whole), reciprocal(ranked)
                    of |= _intervals({"whole": before, name: after - before}, asked)
    return figures


def _consistency(
    opened: OpenRelease,
    asked: Asked,
    vectors: Mapping[str, np.ndarray],
    ranks: Mapping[tuple[str, str], np.ndarray],
) -> Figures:
    """The same samples asked by each of two other parts, and by both."""
    figures = {}
    for gallery in opened.release.modalities:
        others = [m for m in vectors if m != gallery]
        if len(others) < 2 or not len(asked.having(*others, gallery)):
            continue
        first, second = (ranks[m, gallery] for m in others)
        both = ranks_of(opened, asked, {m: vectors[m] for m in others}, gallery)
        by = {others[0]: first, others[1]: second, " + ".join(others): both}
        is_asked = ~np.isnan(both)
        values = {name: np.where(is_asked, reciprocal(own), np.nan) for name, own in by.items()}
        values["disparity"] = values[others[0]] - values[others[1]]
        values["rank variance"] = np.var(np.log2([first, second]), axis=0)
        figures[gallery] = {"samples": int(is_asked.sum()), **_intervals(values, asked)}
    return figures


def _imbalance(asked: Asked, ranks: Mapping[tuple[str, str], np.ndarray]) -> Figures:
    """The reciprocal ranks of each direction less those of the reverse direction."""
    figures: Figures = {}
    present = dict.fromkeys(modality for modality, _ in ranks)
    for a, b in combinations(present, 2):
        if (a, b) in ranks and (b, a) in ranks and len(asked.having(a, b)):
            difference = reciprocal(ranks[a, b]) - reciprocal(ranks[b, a])
            figures |= _intervals({f"{a}->{b} less {b}->{a}": difference}, asked)
    return figures


def _intervals(values: Mapping[str, np.ndarray], asked: Asked) -> Figures:
    intervals = bootstrap_many(values, groups=asked.clusters)
    return {name: interval._asdict() for name, interval in intervals.items()}
