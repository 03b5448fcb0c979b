"""Captions that do not describe their image, such as file names, dates and placeholders.

Conceptual Captions (Sharma et al. 2018) and LAION remove such captions by similar rules.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.signals.scorer import BatchScorer, Columns
from store.tables.signals import SCORERS

_FILE_TYPES = "jpe?g|png|gif|webp|bmp|tiff?|heic|svg|pdf|mp3|wav|flac|ogg|m4a|mp4|mov"
_CAMERAS = "img|dsc|dscn|dscf|dcim|pxl|mvi|vid|gopr|pict|sam|screenshot|screen shot|whatsapp image"
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_WORDS = (
    "image|images|photo|photos|photograph|picture|pictures|pic|img|figure|fig|illustration"
    "|thumbnail|thumb|preview|logo|icon|banner|avatar|profile picture|slide|video|audio|sound"
    "|file|media|attachment|untitled|unnamed|unknown|default|placeholder|null|none|nan|n/a|na"
    "|undefined|test|alt|alt text|caption|no caption|no description|no alt text|description"
    "|title|no title|image not available|no image|no image available|click to enlarge"
    "|enlarge|click here|loading|share|advertisement"
)
# Each matches an entire text, in lower case and without white space at its ends. The first match
# counts.
_KINDS = {
    "placeholder": rf"[^\p{{L}}]*(?:(?:the|an?|this|my|stock) )?(?:{_WORDS})[^\p{{L}}]*",
    "file_name": rf"\S+(?: \S+){{0,5}}\.(?:{_FILE_TYPES})|(?:{_CAMERAS})[ _\-]?\d[\w .\-()]*",
    "date": rf"(?:\w+,? )?(?:\d{{1,4}}[./\-]\d{{1,2}}[./\-]\d{{1,4}}"
    rf"|(?:{_MONTHS})[a-z]*\.? \d{{1,2}},? \d{{4}}"
    rf"|\d{{1,2}}\.? (?:{_MONTHS})[a-z]*\.?,? \d{{4}}|(?:{_MONTHS})[a-z]* \d{{4}})"
    r"(?:[ t,]+\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?: ?[ap]m)?z?)?",
    "url": r"(?:https?://|www\.)\S+",
    "number": r"[^\p{L}\p{M}]+",
}


def score(batch: pa.RecordBatch) -> Columns:
    """`text_boilerplate`: the kind of a text that consists of nothing else, or `none`.

    The kinds are `placeholder` ("image", "untitled"), `file_name` (IMG_1234.jpg), `date`, `url` and
    `number`.
    """
    text = pc.utf8_lower(pc.utf8_trim_whitespace(batch["text"]))
    kind = pc.if_else(pc.is_valid(text), "none", pa.scalar(None, pa.string()))
    for name, pattern in reversed(_KINDS.items()):
        kind = pc.if_else(pc.match_substring_regex(text, rf"\A(?:{pattern})\z"), name, kind)
    return {"text_boilerplate": kind}


BOILERPLATE = BatchScorer("text_boilerplate", SCORERS["text_boilerplate"].names, ("text",), score)
