"""Flagged words, as C4 counts them (Raffel et al. 2020), by the lists of `glin-profanity`.

The lists are of 24 languages, permissively licensed and kept up; only they are used, since a set
of words is looked up faster than the package's own search for spellings that evade it.
"""

import json
import re
from functools import cache

import pyarrow as pa

from pipelines.signals.scorer import BatchScorer, Columns
from pipelines.signals.scorers.onnx_models import packaged
from pipelines.signals.scorers.text_language import language

# ISO 639 to the lists' names.
_LISTS = {
    "ar": "arabic",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "hi": "hindi",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}  # Chinese, Japanese, Korean and Thai put no spaces between words: whole words are not found
_WORD = re.compile(r"\w+")


def score(batch: pa.RecordBatch) -> Columns:
    """How many words are on the list of the text's own language or the English one.

    Words are whole, in lower case; entries of several words are not looked for.
    """
    counts = [None if t is None else flagged(t) for t in batch["text"].to_pylist()]
    return {"text_flagged_words": pa.array(counts, pa.int32())}


def flagged(text: str) -> int:
    words = _WORD.findall(text.lower())
    known = _words("en")
    # A word is looked up in every list before the language is asked for, which takes longer.
    if _anywhere().isdisjoint(words):
        return 0
    own = _words(language(text)[0])
    return sum(w in known or w in own for w in words)


@cache
def _words(code: str) -> frozenset[str]:
    if code not in _LISTS:
        return frozenset()
    path = packaged("glin_profanity", f"data/dictionaries/{_LISTS[code]}.json")
    listed = json.loads(path.read_text(encoding="utf-8"))
    entries = listed["words"] if isinstance(listed, dict) else listed
    return frozenset(w for e in entries if _WORD.fullmatch(w := e.strip().lower()))


@cache
def _anywhere() -> frozenset[str]:
    return frozenset().union(*map(_words, _LISTS))


FLAGGED = BatchScorer("text_flagged", ("text_flagged_words",), ("text",), score)
