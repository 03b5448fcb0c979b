"""A result as HTML for notebooks: a grid of thumbnails, texts and audio players.

The HTML loads nothing from anywhere and has no scripts. Captions and keys come from the data and
may be hostile, so every value is escaped and cut. The number of cards and the size of their media
are bounded by `store.search.cards`.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from store.search.cards import Card

_MAX_CAPTION, _MAX_KEY, _MAX_NOTE = 300, 80, 300  # characters
_RANKING = ("_fused", "_calibrated", "_score")  # the first one that rows have ranks them
_AUDIO_PREFIX = "audio/"
# Colours are those of the notebook's theme, whether it is light or dark. Pictures have a white
# background, because many drawings are transparent or cut out.
_STYLE = """
.isotrope {font: 13px/1.4 system-ui, sans-serif; max-width: 1000px}
.isotrope .cards {display: grid; gap: 16px; grid-template-columns: repeat(auto-fill,
  minmax(160px, 1fr)); margin: 8px 0 16px}
.isotrope .card {min-width: 0}
.isotrope .box {aspect-ratio: 1; border: 1px solid rgb(128 128 128 / 35%); border-radius: 6px;
  box-sizing: border-box; display: flex; align-items: center; justify-content: center;
  overflow: hidden; padding: 8px}
.isotrope .picture {background: white}
.isotrope .box img {width: 100%; height: 100%; object-fit: contain; margin: 0}
.isotrope .box audio {width: 100%}
.isotrope .text, .isotrope .caption {display: -webkit-box; -webkit-box-orient: vertical;
  overflow: hidden; overflow-wrap: anywhere}
.isotrope .text {-webkit-line-clamp: 7; font-size: 14px}
.isotrope .caption {-webkit-line-clamp: 2}
.isotrope .scores {display: flex; gap: 8px; margin-top: 6px}
.isotrope .score {font-weight: 600; font-variant-numeric: tabular-nums}
.isotrope .muted {opacity: 0.65}
.isotrope .key {font-size: 11px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap}
"""


def html_view(
    hits: Sequence[Mapping[str, Any]], cards: Sequence[Card], remarks: Sequence[str]
) -> str:
    """Write the view of a result.

    Args:
        hits: the rows to show, best first, with `rank`, `modality` and their scores. Rows of a
            batch have `query`.
        cards: what each hit looks like.
        remarks: lines about the result, above the cards.
    """
    lines = "".join(f'<div class="muted">{_short(line, _MAX_NOTE)}</div>' for line in remarks)
    pairs = zip(hits, cards, strict=True)
    groups = groupby(pairs, key=lambda pair: pair[0].get("query"))
    grids = "".join(_grid(query, group) for query, group in groups)
    return f'<style>{_STYLE}</style><div class="isotrope">{lines}{grids}</div>'


def _grid(query: int | None, pairs: Iterator[tuple[Mapping[str, Any], Card]]) -> str:
    head = "" if query is None else f"<div><b>query {int(query)}</b></div>"
    return f'{head}<div class="cards">{"".join(_card(*pair) for pair in pairs)}</div>'


def _card(hit: Mapping[str, Any], card: Card) -> str:
    score = next(hit[name] for name in _RANKING if name in hit)
    caption = _short(card.caption, _MAX_CAPTION)
    below = "" if hit["modality"] == "text" else f'<div class="caption">{caption}</div>'
    return (
        f'<div class="card">{_box(str(hit["modality"]), card, caption)}'
        f'<div class="scores"><span class="muted">{int(hit["rank"])}</span>'
        f'<span class="score">{score:.3f}</span></div>{below}'
        f'<div class="key muted">{_short(card.key, _MAX_KEY)}</div></div>'
    )


def _box(modality: str, card: Card, caption: str) -> str:
    """The picture, the player or the text of a card."""
    if card.thumbnail:
        url = _data_url("image/jpeg", card.thumbnail)
        return f'<div class="box picture"><img src="{url}" alt="{caption}"></div>'
    if card.recording and card.recording.media_type.startswith(_AUDIO_PREFIX):
        url = _data_url(card.recording.media_type, card.recording.data)
        return f'<div class="box"><audio controls preload="metadata" src="{url}"></audio></div>'
    if modality == "text":
        return f'<div class="box"><div class="text">{caption}</div></div>'
    return f'<div class="box muted">{escape(modality)}</div>'


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{escape(media_type)};base64,{base64.b64encode(data).decode()}"


def _short(value: str | None, longest: int) -> str:
    """A text of at most `longest` characters, escaped."""
    text = " ".join((value or "").split())
    return escape(text if len(text) <= longest else text[: longest - 1] + "…")
