"""Addresses in texts: how many, and how to mask them (after Data-Juicer's cleaning mappers and
datatrove's PII formatter). Expressions are RE2's, which take linear time on hostile texts."""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.signals.scorer import BatchScorer, Columns

# In this order: an address may hold what looks like another one.
PATTERNS = {
    "text_urls": r"(?i)\b(?:https?://|ftp://|www\.)[^\s<>\"']+",
    "text_emails": r"\b[\w.+\-]+@\w[\w\-]*(?:\.\w[\w\-]*)+",
    # With a plus in front, or in three groups as in North America: other numbers of many digits are
    # not told from dates, prices and identifiers.
    "text_phones": r"\+\d{1,3}(?:[ .\-/]?\(?\d{1,4}\)?){2,6}"
    r"|\(\d{3}\) ?\d{3}[ .\-]\d{4}\b"
    r"|\b\d{3}[ .\-]\d{3}[ .\-]\d{4}\b",
}
_MASKS = {"text_urls": "<url>", "text_emails": "<email>", "text_phones": "<phone>"}


def score(batch: pa.RecordBatch) -> Columns:
    """How many URLs, e-mail addresses and telephone numbers a text holds."""
    text, counts = batch["text"], {}
    for name, pattern in PATTERNS.items():
        counts[name] = pc.count_substring_regex(text, pattern).cast(pa.int32())
        text = pc.replace_substring_regex(text, pattern, " ")
    return counts


def mask(text: pa.Array) -> pa.Array:
    """Texts with each address replaced by <url>, <email> or <phone>; for exports."""
    for name, pattern in PATTERNS.items():
        text = pc.replace_substring_regex(text, pattern, _MASKS[name])
    return text


CONTACTS = BatchScorer("text_contacts", tuple(PATTERNS), ("text",), score)
