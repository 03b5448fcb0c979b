"""How evenly a space understands languages: test captions in several of them, and their ranks.

A corpus brings captions in other languages in a sample's `meta`, under `captions`, by language
code: {"captions": {"de": "Ein Frosch.", "pt_BR": "Um sapo."}}. The sample's own text is not among
them. What is there of them is bounded: this is a sample, and encoding takes time.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from rich.progress import track

from embedders.registry import load
from embedders.spaces import Space
from pipelines.engine.progress import console
from store import corrections
from store.corrections import Correction
from store.errors import RecordError
from store.metrics import mean_rank_variance
from store.tables import schema
from store.tables.banks import Banks
from store.tables.lance_tables import Tables, one_of

META_KEY = "captions"
MOST_TEXTS, MOST_LANGUAGES = 200, 10
OWN = "own"  # the language of the samples' own texts, where it has not been recognised
_BATCH = 128

TranslatedQueries = dict[
    str, dict[str, np.ndarray]
]  # language -> text part -> unit vector (d,) float32


def read_translated(tables: Tables, banks: Banks, space: Space) -> TranslatedQueries:
    """Vectors of test texts and of what they are in other languages; empty where there are none.

    At most 200 texts, in the order of their part ids, and the 10 languages that tell of most of
    them, one for each of a language's varieties. The texts' own language comes first.
    """
    if "text" not in space.towers:
        return {}
    vectors, _, parts = banks.part("test", "text")
    captions = _captions(tables, banks)
    texts = [p for p in parts.tolist() if p in captions][:MOST_TEXTS]
    if not texts:
        return {}
    own = _own_language(tables, texts)
    others = _languages([captions[p] for p in texts], own)
    wanted = {(code, p): captions[p][code] for code in others for p in texts if code in captions[p]}
    encoded = _encode(space.towers["text"], set(wanted.values()))
    vector_of = dict(zip(parts.tolist(), vectors, strict=True))
    spoken: TranslatedQueries = {own: {p: vector_of[p] for p in texts}}
    for (code, part), text in wanted.items():
        if text in encoded:
            spoken.setdefault(code, {})[part] = encoded[text]
    return spoken


def compare_languages(
    spoken: TranslatedQueries,
    answers: Mapping[str, Sequence[int]],
    rankings: Mapping[str, Correction],
) -> dict[str, Any] | None:
    """Ranks of the texts' answers (gallery rows, by text part), asked for in every language.

    `queries` by language; for each ranking its `mean_rank_variance` (a rank is at most the
    gallery's size) and `r@10` and `median_rank` by language. None where fewer than two languages
    tell of any text that has answers.
    """
    texts = [p for p in next(iter(spoken.values()), {}) if answers.get(p)]
    asked = {code: [i for i, p in enumerate(texts) if p in said] for code, said in spoken.items()}
    asked = {code: rows for code, rows in asked.items() if rows}
    if len(asked) < 2:
        return None
    figures: dict[str, Any] = {"queries": {code: len(rows) for code, rows in asked.items()}}
    for side, ranking in rankings.items():
        ranks = np.full((len(asked), len(texts)), np.nan)
        found: dict[str, dict[str, float]] = {"r@10": {}, "median_rank": {}}
        for place, (code, rows) in enumerate(asked.items()):
            queries = np.stack([spoken[code][texts[i]] for i in rows])
            seen = corrections.evaluate(ranking, queries, [answers[texts[i]] for i in rows])
            ranks[place, rows] = np.minimum(seen.first, len(seen.counts))
            told = seen.figures()
            for measure, by_language in found.items():
                by_language[code] = told[measure]
        figures[side] = {"mean_rank_variance": mean_rank_variance(ranks), **found}
    return figures


def _captions(tables: Tables, banks: Banks) -> dict[str, dict[str, str]]:
    """Captions by language of each test text: those of the first of its samples that has any."""
    tested = pc.and_(
        pc.equal(banks.table["split"], "test"), pc.equal(banks.table["modality"], "text")
    )
    samples = banks.table.filter(tested).select(["sample_id", "part_id"]).to_pydict()
    part_of = dict(zip(*samples.values(), strict=True))
    rows = tables.scan("samples", schema.SAMPLES, ["id", "drop", "meta"], one_of("id", part_of))
    found: dict[str, dict[str, str]] = {}
    for row in rows.sort_by([("id", "ascending"), ("drop", "ascending")]).to_pylist():
        said = json.loads(row["meta"]).get(META_KEY) if row["meta"] else None
        if isinstance(said, dict):
            texts = {c: t for c, t in said.items() if isinstance(t, str) and t.strip()}
            if texts:
                found.setdefault(part_of[row["id"]], texts)
    return found


def _own_language(tables: Tables, texts: Sequence[str]) -> str:
    """The language that most of the texts were recognised to be in."""
    of_texts = tables.scan("samples", schema.SAMPLES, ["id"], one_of("text_id", texts))
    ids = set(of_texts["id"].to_pylist())
    found = tables.scan("signals", schema.SIGNALS, ["text_language"], one_of("id", ids))
    known = Counter(c for c in found["text_language"].to_pylist() if c)
    return min(known, key=lambda code: (-known[code], code)) if known else OWN


def _languages(captions: Sequence[Mapping[str, str]], own: str) -> list[str]:
    """The codes that tell of most texts; of a language's varieties (pt, pt_BR) the best one."""
    told = Counter(code for said in captions for code in said)
    chosen: dict[str, str] = {}
    for code in sorted(told, key=lambda c: (-told[c], c)):
        language = re.split("[_@-]", code)[0].lower()
        if language != own:
            chosen.setdefault(language, code)
    return list(chosen.values())[:MOST_LANGUAGES]


def _encode(tower: str, texts: set[str]) -> dict[str, np.ndarray]:
    encoder = load(tower)
    prepared = []
    for text in sorted(texts, key=lambda t: (len(t), t)):  # alike in length: little is padded
        try:
            prepared.append((text, encoder.prepare(text)))
        except RecordError:  # it cannot be asked for in these words: the others still can
            continue
    vectors: dict[str, np.ndarray] = {}
    starts = range(0, len(prepared), _BATCH)
    for start in track(
        starts,
        "captions in other languages",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        batch = prepared[start : start + _BATCH]
        rows = encoder.encode([ready for _, ready in batch])
        vectors |= {text: row for (text, _), row in zip(batch, rows, strict=True)}
    return vectors
