"""The text of a hybrid query."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from store.errors import InputError
from store.search.inputs import Inputs

MAX_WORDS = 64  # that are different
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class FullText:
    """What captions are searched for, beside the vectors.

    Attributes:
        text: to look for. None: each query's own texts.
        weight: of the full-text list, above 0 up to 1. The list of vectors has the rest.
        item_words: whether the words that items were given are searched too. None: where the
            release adopted this.
    """

    text: str | None
    weight: float
    item_words: bool | None = None

    def to_value(self) -> dict[str, Any]:
        """As JSON, as `store.search.query_json.HybridJson` reads it."""
        value = {"text": self.text, "weight": self.weight}
        return value if self.item_words is None else {**value, "words": self.item_words}

    def words(self, queries: Sequence[Inputs]) -> str:
        """The different words to look for, with blanks between them.

        Args:
            queries: the inputs of the query, whose own texts are taken if there is no other; or
                those of each part of a compound query, which has no own text.

        Raises:
            InputError: the query has no text, or there are too many words.
        """
        text = self.text
        if text is None:
            inputs = queries[0] if len(queries) == 1 else ()
            texts = [str(i.value) for i in inputs if i.kind == "text" and i.weight > 0]
            if not texts:
                raise InputError("hybrid() needs a text: the query has no single text of its own")
            text = " ".join(texts)
        words = dict.fromkeys(_WORD.findall(text.lower()))
        if len(words) > MAX_WORDS:
            raise InputError(
                f"hybrid(): the text has {len(words)} different words; at most {MAX_WORDS} can be"
                " searched"
            )
        return " ".join(words)
