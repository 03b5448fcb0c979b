"""Measure the words of images and recordings, and decide whether hybrid search reads them.

Held-out captions ask for their items, which are searched as if they had no caption: by vectors
alone, and by vectors and words. The words are adopted for a direction if they are certainly better
on validation pairs; figures are those of test pairs. Items of the bank are not ranked, as in
`pipelines.release.evaluate`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import lance
import numpy as np

from store.arrow import as_matrix
from store.corrections.decision import lower_end
from store.corrections.select import LEAST_PAIRS
from store.metrics.intervals import bootstrap, paired_bootstrap
from store.search.caption_words import words_of
from store.search.column_plan import WeightedInput
from store.search.corrected_search import search_many
from store.search.full_text import MAX_WORDS
from store.search.hybrid import K, competition_ranks
from store.search.open_gallery import OpenGallery
from store.search.vector_layout import unfold
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.lance_tables import one_of
from store.tables.words import WORDS, WORDS_TEXT, ItemWords

_QUERIES = 500  # of a split
_WINDOW = 100  # rows of the list of vectors, as in hybrid search
_MOST_IN_BANK = 900  # items of the bank that are expected among the best rows
_MATCHES = 20_000
_SPLITS = ("validation", "test")


class _QueryRanks(NamedTuple):
    """Reciprocal ranks (m,) of queries by both systems, and the cluster of each query."""

    vectors: np.ndarray
    fused: np.ndarray
    clusters: np.ndarray

    def figures(self) -> dict[str, Any]:
        """Means and the interval of the gain, as JSON values."""
        gain = paired_bootstrap(self.fused, self.vectors, groups=self.clusters)
        return {
            "queries": len(self.fused),
            "vectors": float(self.vectors.mean()) if len(self.vectors) else 0.0,
            "fused": float(self.fused.mean()) if len(self.fused) else 0.0,
            "gain": gain._asdict(),
        }


def measure_words(
    galleries: Mapping[str, lance.LanceDataset],
    banks: Banks,
    directions: Mapping[str, Direction],
    words: ItemWords,
) -> dict[str, dict[str, Any]]:
    """The figures of words by direction, text->image and text->audio, as JSON values.

    Args:
        galleries: by modality; that of texts has the captions.
        banks: of the space.
        directions: by name.
        words: that the items were given.

    Returns:
        `adopted` and its `reason`; `validation` and `test`, each with the number of queries, the
        mean reciprocal ranks by vectors alone and with words, and the gain with its 95% interval;
        `recall`, the share of a test caption's known words that are among the words of its item
        (mean, low and high): with the correction, without it, and of the most frequent words;
        `vocabulary` and `count`, the numbers of words, of all and of an item.
    """
    measured = {}
    for modality, gallery in galleries.items():
        direction = directions.get(f"text->{modality}")
        if direction is None or WORDS not in gallery.schema.names or modality == "text":
            continue
        captions = {split: _captions(galleries["text"], banks, split) for split in _SPLITS}
        query_ranks = {
            split: _rank_items(
                OpenGallery(gallery, modality), banks, direction, split, captions[split]
            )
            for split in _SPLITS
        }
        adopted, reason = _decide(query_ranks["validation"])
        measured[direction.name] = {
            "adopted": adopted,
            "reason": reason,
            **{split: each.figures() for split, each in query_ranks.items()},
            "recall": _recall(gallery, banks, modality, words, captions["test"]),
            "vocabulary": len(words.words),
            "count": words.per_item,
        }
    return measured


def _decide(query_ranks: _QueryRanks) -> tuple[bool, str]:
    """Whether words are certainly better than vectors alone, and the reason in words."""
    if len(query_ranks.fused) < LEAST_PAIRS:
        return False, f"not adopted: {len(query_ranks.fused)} pairs are fewer than {LEAST_PAIRS}"
    gain = query_ranks.figures()["gain"]
    figures = (
        f"{gain['mean']:+.4f} in mean reciprocal rank on held-out pairs, 95% interval"
        f" {gain['low']:+.4f} to {gain['high']:+.4f}, {len(query_ranks.fused)} pairs"
    )
    if lower_end(query_ranks.fused - query_ranks.vectors, query_ranks.clusters) > 0:
        return True, f"adopted: {figures}"
    return False, f"not adopted, because the gain is not certain: {figures}"


def _captions(texts: lance.LanceDataset, banks: Banks, split: str) -> dict[str, str]:
    """The captions of the texts of a split, by part id."""
    parts = banks.part(split, "text").parts
    rows = texts.to_table(columns=["part_id", "caption"], filter=one_of("part_id", parts))
    return dict(zip(rows["part_id"].to_pylist(), rows["caption"].to_pylist(), strict=True))


def _rank_items(
    gallery: OpenGallery, banks: Banks, direction: Direction, split: str, captions: dict[str, str]
) -> _QueryRanks:
    """Rank the items of captions of a split, by vectors alone and with words."""
    texts = banks.pair_queries(split, "text")
    pairs = banks.pairs(split, "text", gallery.modality)
    chosen = [n for n, part in enumerate(texts.parts) if pairs.get(part) and captions.get(part)]
    chosen = chosen[:_QUERIES]
    in_bank = set(banks.items(gallery.modality).parts.tolist())
    compiled = {"text": direction} if direction.method != "none" else {}
    batch = [[WeightedInput("text", texts.vectors[n], 1.0)] for n in chosen]
    listed = search_many(
        gallery, batch, compiled, ["part_id"], None, _WINDOW + min(len(in_bank), _MOST_IN_BANK)
    )
    alone, both = np.zeros(len(chosen)), np.zeros(len(chosen))
    for row, (number, ranked) in enumerate(zip(chosen, listed, strict=True)):
        part = texts.parts[number]
        by_vectors = _scores(ranked.rows, in_bank)[:_WINDOW]
        query = " ".join(sorted(words_of(captions[part]))[:MAX_WORDS])
        matches = gallery.match_text(query, _MATCHES, None, WORDS_TEXT) if query else None
        by_words = [] if matches is None else _scores(matches, in_bank)
        alone[row] = _reciprocal_rank([by_vectors], pairs[part])
        both[row] = _reciprocal_rank([by_vectors, by_words], pairs[part])
    return _QueryRanks(alone, both, texts.clusters[chosen])


def _scores(rows: Any, left_out: set[str]) -> list[tuple[str, float]]:
    """(part id, score) of rows, best first, without some parts."""
    pairs = zip(rows["part_id"].to_pylist(), rows["_score"].to_pylist(), strict=True)
    return [pair for pair in pairs if pair[0] not in left_out]


def _reciprocal_rank(lists: list[list[tuple[str, float]]], right: set[str]) -> float:
    """Of the best right answer, by the ranks in all lists; 0 if none of them has it."""
    fused: dict[str, float] = {}
    for each in lists:
        ranks = competition_ranks(np.array([score for _, score in each]))
        for (part, _), rank in zip(each, ranks, strict=True):
            fused[part] = fused.get(part, 0.0) + 1 / (K + rank)
    best = max((fused[part] for part in right if part in fused), default=0.0)
    return 1 / (1 + sum(score > best for score in fused.values())) if best else 0.0


def _recall(
    gallery: lance.LanceDataset,
    banks: Banks,
    modality: str,
    words: ItemWords,
    captions: dict[str, str],
) -> dict[str, Any]:
    """The recall of the words of test captions (see `measure_words`)."""
    number = {word: n for n, word in enumerate(words.words)}
    items = banks.part("test", modality)
    pairs = banks.pairs("test", modality, "text")
    wanted = {}
    for part in items.parts:
        own = set().union(*(words_of(captions.get(t) or "") for t in pairs.get(part, ())))
        if own & number.keys():
            wanted[str(part)] = {number[word] for word in own & number.keys()}
    stored = gallery.to_table(columns=["part_id", "vector"], filter=one_of("part_id", wanted))
    parts = stored["part_id"].to_pylist()
    cluster = dict(zip(items.parts.tolist(), items.clusters.tolist(), strict=True))
    raw = words._replace(biases={modality: np.zeros(len(words.words), np.float32)})
    vectors = unfold(as_matrix(stored["vector"]), words.vectors.shape[1])
    frequent = np.tile(np.arange(min(words.per_item, len(words.words))), (len(parts), 1))
    given = {
        "corrected": words.best(modality, vectors)[0],
        "raw": raw.best(modality, vectors)[0],
        "frequent": frequent,
    }
    return {
        name: bootstrap(
            np.array(
                [
                    len(wanted[p] & set(r.tolist())) / len(wanted[p])
                    for p, r in zip(parts, rows, strict=True)
                ]
            ),
            groups=[cluster[part] for part in parts],
        )._asdict()
        for name, rows in given.items()
    }
