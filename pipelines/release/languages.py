"""Compare how well a space understands several languages, on test captions and their translations.

A corpus brings captions in other languages in a sample's `meta`, under `captions`, by language
code: {"captions": {"de": "Ein Frosch.", "pt_BR": "Um sapo."}}. The sample's own text is not in it.
The number of texts and languages is bounded, because encoding takes time and a sample is enough.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from embedders.spaces import Space
from pipelines.release.translation_vectors import translation_vectors
from store.metrics import mean_rank_variance
from store.metrics.retrieval import median_rank, recall_at
from store.tables import schema
from store.tables.banks import Banks
from store.tables.lance_tables import Tables, one_of

META_KEY = "captions"
MOST_TEXTS, MOST_LANGUAGES = 200, 10
OWN = "own"  # stands for the language of the samples' own texts if it was not recognised

# language code -> part id of the text -> unit vector (d,) float32
TranslatedQueries: TypeAlias = dict[str, dict[str, np.ndarray]]


def read_translated(tables: Tables, banks: Banks, space: Space) -> TranslatedQueries:
    """The translations of test texts as queries. Vectors of the last release are used again.

    Args:
        tables: the tables of the corpus.
        banks: the banks of the space.
        space: its tower of text encodes new translations.

    Returns:
        Vectors of at most `MOST_TEXTS` texts, the first by part id, in their own language, which
        comes first, and in the `MOST_LANGUAGES` languages with most translations. Of varieties
        of a language (pt, pt_BR) only one is used. Empty if there are no translations.
    """
    if "text" not in space.towers:
        return {}
    vectors, _, parts = banks.pair_queries("test", "text")
    captions = _captions(tables, banks)
    texts = [p for p in parts.tolist() if p in captions][:MOST_TEXTS]
    if not texts:
        return {}
    own = _own_language(tables, texts)
    others = _languages([captions[p].texts for p in texts], own)
    translations = {
        (code, p): captions[p].texts[code]
        for code in others
        for p in texts
        if code in captions[p].texts
    }
    samples = {(captions[p].sample, text) for (_, p), text in translations.items()}
    encoded = translation_vectors(tables, space, samples)
    vector_of = dict(zip(parts.tolist(), vectors, strict=True))
    translated: TranslatedQueries = {own: {p: vector_of[p] for p in texts}}
    for (code, part), text in translations.items():
        if text in encoded:
            translated.setdefault(code, {})[part] = encoded[text]
    return translated


class LanguageQueries(NamedTuple):
    """Texts in several languages whose answers are in a gallery.

    Attributes:
        texts: their number.
        rows: the rows of each language; row i is the query of text `numbers[i]`.
        numbers: (m,) the number of the text of each query.
        vectors: (m, d) unit vectors.
        answers: m lists of gallery rows.
    """

    texts: int
    rows: dict[str, np.ndarray]
    numbers: np.ndarray
    vectors: np.ndarray
    answers: list[Sequence[int]]


def language_queries(
    translated: TranslatedQueries, answers: Mapping[str, Sequence[int]]
) -> LanguageQueries | None:
    """The queries in every language whose texts have answers.

    Args:
        translated: as `read_translated` returns it.
        answers: gallery rows, by part id of the text.

    Returns:
        None if fewer than two languages have such texts.
    """
    texts = [p for p in next(iter(translated.values()), {}) if answers.get(p)]
    rows: dict[str, np.ndarray] = {}
    numbers: list[int] = []
    vectors: list[np.ndarray] = []
    for code, by_text in translated.items():
        own = [i for i, part in enumerate(texts) if part in by_text]
        if own:
            rows[code] = np.arange(len(numbers), len(numbers) + len(own))
            numbers += own
            vectors += [by_text[texts[i]] for i in own]
    if len(rows) < 2:
        return None
    return LanguageQueries(
        len(texts), rows, np.array(numbers), np.stack(vectors), [answers[texts[i]] for i in numbers]
    )


def compare_languages(
    queries: LanguageQueries, first: Mapping[str, np.ndarray], items: int
) -> dict[str, Any]:
    """Compare the ranks of the answers of texts between languages.

    Args:
        queries: in every language.
        first: (m,) the rank of the best answer of each query, by the name of the ranking.
        items: the number of items that were ranked.

    Returns:
        `queries` (their number, by language); and by the name of each ranking
        `mean_rank_variance` (a rank counts at most as the gallery's size), and `r@10` and
        `median_rank` by language.
    """
    figures: dict[str, Any] = {"queries": {code: len(rows) for code, rows in queries.rows.items()}}
    for side, ranks in first.items():
        table = np.full((len(queries.rows), queries.texts), np.nan)
        for number, rows in enumerate(queries.rows.values()):
            table[number, queries.numbers[rows]] = np.minimum(ranks[rows], items)
        figures[side] = {
            "mean_rank_variance": mean_rank_variance(table),
            "r@10": {c: float(recall_at(ranks[r], 10).mean()) for c, r in queries.rows.items()},
            "median_rank": {c: median_rank(ranks[r]) for c, r in queries.rows.items()},
        }
    return figures


class _Captions(NamedTuple):
    """The translations of a sample's text, by language."""

    sample: str
    texts: dict[str, str]


def _captions(tables: Tables, banks: Banks) -> dict[str, _Captions]:
    """The translations of each test text, from the first of its samples that has any."""
    samples = banks.select(["sample_id", "part_id"], split="test", modality="text")
    part_of = dict(zip(*samples.to_pydict().values(), strict=True))
    rows = tables.scan("samples", schema.SAMPLES, ["id", "drop", "meta"], one_of("id", part_of))
    captions: dict[str, _Captions] = {}
    for row in rows.sort_by([("id", "ascending"), ("drop", "ascending")]).to_pylist():
        value = json.loads(row["meta"]).get(META_KEY) if row["meta"] else None
        if isinstance(value, dict):
            texts = {c: t for c, t in value.items() if isinstance(t, str) and t.strip()}
            if texts:
                captions.setdefault(part_of[row["id"]], _Captions(row["id"], texts))
    return captions


def _own_language(tables: Tables, texts: Sequence[str]) -> str:
    """The language that was recognised in most of the texts; `OWN` if in none."""
    samples = tables.scan("samples", schema.SAMPLES, ["id"], one_of("text_id", texts))
    ids = set(samples["id"].to_pylist())
    signals = tables.scan("signals", schema.SIGNALS, ["text_language"], one_of("id", ids))
    counts = Counter(code for code in signals["text_language"].to_pylist() if code)
    return min(counts, key=lambda code: (-counts[code], code)) if counts else OWN


def _languages(captions: Sequence[Mapping[str, str]], own: str) -> list[str]:
    """The codes with most translations, one a language: of pt and pt_BR the more frequent one."""
    counts = Counter(code for translations in captions for code in translations)
    code_of: dict[str, str] = {}
    for code in sorted(counts, key=lambda c: (-counts[c], c)):
        language = re.split("[_@-]", code)[0].lower()
        if language != own:
            code_of.setdefault(language, code)
    return list(code_of.values())[:MOST_LANGUAGES]
