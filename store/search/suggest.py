"""Suggests queries: for each cluster of the best results, a small change of the text that finds it.

After CroQS (Pacini et al. 2025, "Maybe you are looking for CroQS: Cross-modal Query Suggestion for
Text-to-Image Retrieval", ECIR), without a language model. The best `LISTED` rows by corrected
scores are clustered by their vectors; of a text alone, only those that fit it better than 98% of
unrelated items do (a calibrated score of 1). The words that the captions of a cluster have more
often than the others are the candidates: one or two of them are added to the text, or one takes
the place of a word that no caption of the cluster has, if the captions have another word of the
text. With the mean cosine of a text t to the rows inside and outside of the cluster, the best
candidate has the largest

    contrast(t) = inside(t) - outside(t).

Biases of corrections are the same for all texts, so they would change no choice here.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from store.arrow import as_matrix
from store.errors import InputError
from store.metrics.retrieval import Relevant, average_precision, relevant_ranks
from store.search.caption_words import words_of
from store.search.execute import run_query
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.suggestion import Suggestion
from store.search.vector_layout import unfold
from store.spherical_kmeans import best_clusters
from store.tables.lance_tables import one_of
from store.tables.schema import MODALITIES

LISTED = 200
MAX_COUNT = 20
LEAST = 5  # rows of a cluster
_EXAMPLES = 4
_STARTS = 8  # of k-means
_FEWEST = 4 * LEAST  # rows that are listed even if they fit less
_WORDS = 6  # of a cluster, that are tried
_PAIRED = 3  # of these, that are tried in pairs
_WORTH = 1.2  # two words must gain so much more than one


class _Listed(NamedTuple):
    """The best rows of a query: ids of samples, words of captions, unit vectors (n, d)."""

    ids: list[str]
    words: list[set[str]]
    vectors: np.ndarray


class _Candidate(NamedTuple):
    """A changed text, and how many words were changed."""

    text: str
    changes: int


def suggest(opened: OpenRelease, query: Query, count: int = 5) -> list[Suggestion]:
    """Suggest changes of a query's text, one for each cluster of its results; large clusters first.

    A cluster whose rows no change finds better than the query itself has no suggestion.

    Args:
        opened: the release.
        query: one query with a text, on the gallery of one modality.
        count: how many clusters, 1 to 20.

    Raises:
        InputError: the query is a batch, is compound, has no text, or searches several galleries.
        IsotropeError: see `store.search.search.Search.run`.
    """
    text = _text(query)
    if not 1 <= count <= MAX_COUNT:
        raise InputError(f"suggest({count}): expected 1 to {MAX_COUNT} suggestions")
    opened = opened.at(query.number)
    listed = _list(opened, query)
    if len(listed.ids) < 2 * LEAST:
        return []
    cell = best_clusters(listed.vectors, min(count, len(listed.ids) // LEAST), _STARTS)
    members = [cell == number for number in np.argsort(-np.bincount(cell), kind="stable")]
    candidates = [list(_candidates(text, listed.words, inside)) for inside in members]
    texts = list(dict.fromkeys([text, *(c.text for each in candidates for c in each)]))
    vectors = dict(zip(texts, opened.encode({"text": texts})["text"], strict=True))
    suggestions: dict[str, Suggestion] = {}
    for inside, each in zip(members, candidates, strict=True):
        if inside.sum() < LEAST or inside.all():
            continue
        new = [candidate for candidate in each if candidate.text not in suggestions]
        if best := _best(text, new, vectors, listed.vectors, inside):
            gain, changed = best
            suggestions[changed] = _suggestion(changed, gain, text, vectors, listed, inside)
    return list(suggestions.values())


def _text(query: Query) -> str:
    """The text that is changed."""
    if query.is_batch or query.compound is not None:
        raise InputError("suggest() takes one query, not a batch or a compound query")
    if query.gallery not in MODALITIES:
        raise InputError(f"suggest() reads one gallery, not {query.gallery!r}: use among('image')")
    for given in query.inputs[0]:
        if given.kind == "text" and given.weight > 0:
            return str(given.value).strip()
    raise InputError("suggest() changes the text of a query, and this query has none")


def _list(opened: OpenRelease, query: Query) -> _Listed:
    listing = query.value.limit(LISTED).offset(0).select("part_id", "caption")
    rows = run_query(opened, listing).rows.to_pylist()
    least = _least_score(opened, query)
    rows = rows[: max(_FEWEST, sum(row["_score"] >= least for row in rows))]
    stored = opened.gallery_dataset(query.gallery).to_table(
        columns=["part_id", "vector"], filter=one_of("part_id", [row["part_id"] for row in rows])
    )
    units = unfold(as_matrix(stored["vector"]), opened.release.dim)
    number = {part: row for row, part in enumerate(stored["part_id"].to_pylist())}
    return _Listed(
        [row["id"] for row in rows],
        [words_of(row["caption"] or "") for row in rows],
        units[[number[row["part_id"]] for row in rows]],
    )


def _least_score(opened: OpenRelease, query: Query) -> float:
    """The score from which a row counts as related to a query."""
    direction = opened.release.directions.get(f"text->{query.gallery}")
    if len(query.inputs[0]) > 1 or query.method != "auto" or direction is None:
        return -math.inf  # no scale was measured for other scores
    return direction.zero + direction.unit


def _candidates(text: str, words: list[set[str]], inside: np.ndarray) -> Iterator[_Candidate]:
    """Texts that may find the rows of a cluster better than `text`."""
    counts = [Counter[str](), Counter[str]()]
    for own, is_inside in zip(words, inside.tolist(), strict=True):
        counts[is_inside].update(own)
    outside, within = counts
    share = {
        word: n / inside.sum() - outside[word] / max((~inside).sum(), 1)
        for word, n in within.items()
        if n > 1
    }
    present = words_of(text)
    usable = [word for word in share if share[word] > 0 and word not in present]
    best = sorted(usable, key=lambda word: (-share[word], word))[:_WORDS]
    wrongs = sorted(present - within.keys()) if present & within.keys() else []
    for word in best:
        yield _Candidate(f"{text} {word}", 1)
        for wrong in wrongs:
            yield _Candidate(re.sub(rf"(?i)\b{wrong}\b", word, text), 1)
    for pair in combinations(best[:_PAIRED], 2):
        yield _Candidate(f"{text} {' '.join(pair)}", 2)


def _best(
    text: str,
    candidates: list[_Candidate],
    vectors: dict[str, np.ndarray],
    rows: np.ndarray,
    inside: np.ndarray,
) -> tuple[float, str] | None:
    """The text with the largest contrast, of fewer words if more gain little, and what it gains.

    None: none gains.
    """
    direction = rows[inside].mean(axis=0) - rows[~inside].mean(axis=0)
    own = float(direction @ vectors[text])
    gains: dict[int, tuple[float, str]] = {}
    for candidate in candidates:
        gain = float(direction @ vectors[candidate.text]) - own
        gains[candidate.changes] = max(
            gains.get(candidate.changes, (0.0, "")), (gain, candidate.text)
        )
    one, two = (gains.get(changes, (0.0, "")) for changes in (1, 2))
    best = two if two[0] > _WORTH * one[0] else one
    return best if best[0] > 0 else None


def _suggestion(
    best: str,
    gain: float,
    text: str,
    vectors: dict[str, np.ndarray],
    listed: _Listed,
    inside: np.ndarray,
) -> Suggestion:
    scores = {each: listed.vectors @ vectors[each] for each in (best, text)}
    precision = {each: _average_precision(s, inside) for each, s in scores.items()}
    centre = listed.vectors[inside].mean(axis=0)
    nearest = [row for row in np.argsort(-scores[best], kind="stable") if inside[row]]
    return Suggestion(
        best,
        int(inside.sum()),
        tuple(dict.fromkeys(listed.ids[row] for row in nearest[:_EXAMPLES])),
        gain=gain,
        specificity=precision[best],
        before=precision[text],
        representativeness=float(vectors[best] @ centre / max(np.linalg.norm(centre), 1e-12)),
        similarity=float(vectors[best] @ vectors[text]),
    )


def _average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    wanted = Relevant.of([np.flatnonzero(relevant)], len(scores))
    return float(average_precision(relevant_ranks(scores[None], wanted), wanted)[0])
