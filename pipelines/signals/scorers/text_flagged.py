"""Flagged words, counted as in C4 (Raffel et al. 2020), by the word lists of `glin-profanity`.

The package has maintained lists for 24 languages under a permissive licence. Only its lists are
used: a look-up in a set is faster than its own search, which also finds disguised spellings.
"""

import json
import re
from functools import cache

import pyarrow as pa

from pipelines.signals.scorer import BatchScorer, Columns
from pipelines.signals.scorers.onnx_models import package_file
from pipelines.signals.scorers.text_language import language
from store.tables.signals import SCORERS

# ISO 639 codes to the names of the lists. Chinese, Japanese, Korean and Thai are left out: they put
# no spaces between words, so whole words cannot be found.
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
}
_WORD = re.compile(r"\w+")


def score(batch: pa.RecordBatch) -> Columns:
    """`text_flagged_words`: the number of words on the list of the text's language or of English.

    Whole words are compared, in lower case. Entries of several words are ignored.
    """
    counts = [None if t is None else flagged(t) for t in batch["text"].to_pylist()]
    return {"text_flagged_words": pa.array(counts, pa.int32())}


def flagged(text: str) -> int:
    """The number of flagged words in a text."""
    words = _WORD.findall(text.lower())
    # Looking the words up in all lists is faster than detecting the language.
    if _all_words().isdisjoint(words):
        return 0
    english, own = _words("en"), _words(language(text)[0])
    return sum(w in english or w in own for w in words)


@cache
def _words(code: str) -> frozenset[str]:
    """The flagged words of a language in lower case; none if it has no list."""
    if code not in _LISTS:
        return frozenset()
    path = package_file("glin_profanity", f"data/dictionaries/{_LISTS[code]}.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    entries = content["words"] if isinstance(content, dict) else content
    return frozenset(w for e in entries if _WORD.fullmatch(w := e.strip().lower()))


@cache
def _all_words() -> frozenset[str]:
    """The flagged words of all languages."""
    return frozenset().union(*map(_words, _LISTS))


FLAGGED = BatchScorer("text_flagged", SCORERS["text_flagged"].names, ("text",), score)
