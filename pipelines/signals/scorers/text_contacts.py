"""URLs, e-mail addresses and telephone numbers in texts: counts, and masks for exports.

After Data-Juicer's cleaning mappers and datatrove's PII formatter. The regular expressions are run
by RE2, which takes linear time on every text.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.signals.scorer import BatchScorer, Columns
from store.tables.signals import SCORERS

# In this order: a URL can contain what looks like an e-mail address or a telephone number.
PATTERNS = {
    "text_urls": r"(?i)\b(?:https?://|ftp://|www\.)[^\s<>\"']+",
    "text_emails": r"\b[\w.+\-]+@\w[\w\-]*(?:\.\w[\w\-]*)+",
    # With a leading plus, or in three groups as in North America. Other numbers of many digits
    # cannot be distinguished from dates, prices and identifiers.
    "text_phones": r"\+\d{1,3}(?:[ .\-/]?\(?\d{1,4}\)?){2,6}"
    r"|\(\d{3}\) ?\d{3}[ .\-]\d{4}\b"
    r"|\b\d{3}[ .\-]\d{3}[ .\-]\d{4}\b",
}
_MASKS = {"text_urls": "<url>", "text_emails": "<email>", "text_phones": "<phone>"}


def score(batch: pa.RecordBatch) -> Columns:
    """The numbers of URLs, e-mail addresses and telephone numbers in a text."""
    text, counts = batch["text"], {}
    for name, pattern in PATTERNS.items():
        counts[name] = pc.count_substring_regex(text, pattern).cast(pa.int32())
        text = pc.replace_substring_regex(text, pattern, " ")
    return counts


def mask(text: pa.Array) -> pa.Array:
    """Replace each URL, e-mail address and telephone number by <url>, <email> or <phone>."""
    for name, pattern in PATTERNS.items():
        text = pc.replace_substring_regex(text, pattern, _MASKS[name])
    return text


CONTACTS = BatchScorer("text_contacts", SCORERS["text_contacts"].names, ("text",), score)
