"""The length of a text and the kinds of its characters.

These are the first filters of LAION, C4, Gopher and Data-Juicer.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.signals.scorer import BatchScorer, Columns
from store.tables.signals import SCORERS

_SPECIAL = r"[^\p{L}\p{M}\p{N}\p{Z}\s]"
_DIGIT = r"\p{Nd}"


def score(batch: pa.RecordBatch) -> Columns:
    """Lengths, and shares of characters.

    - `text_chars`: code points.
    - `text_words`: runs of characters that are not white space.
    - `text_special_ratio`: share of characters that are no letter, mark, number or space.
    - `text_digit_ratio`: share of decimal digits of any script.
    """
    text = batch["text"]
    chars = pc.utf8_length(text)
    words = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(text)))
    return {
        "text_chars": chars.cast(pa.int32()),
        "text_words": words.cast(pa.int32()),
        "text_special_ratio": _share(text, _SPECIAL, chars),
        "text_digit_ratio": _share(text, _DIGIT, chars),
    }


def _share(text: pa.Array, pattern: str, chars: pa.Array) -> pa.Array:
    count = pc.count_substring_regex(text, pattern).cast(pa.float32())
    return pc.divide(count, pc.max_element_wise(chars, 1).cast(pa.float32()))


LENGTH = BatchScorer("text_length", SCORERS["text_length"].names, ("text",), score)
