"""Cards of hits for people to look at: key, caption, thumbnail and recording, from the release."""

from collections.abc import Sequence
from typing import NamedTuple

from store.search.opened import OpenRelease
from store.search.release_items import Original, recordings
from store.tables.lance_tables import one_of

MAX_CARDS = 24  # of one view
MAX_RECORDING = 512 << 10  # bytes
CARD_COLUMNS = ("key", "caption", "thumbnail")


class Item(NamedTuple):
    """A part of a gallery."""

    modality: str
    part_id: str


class Card(NamedTuple):
    """What a hit looks like.

    Attributes:
        key: of the sample.
        caption: of the sample.
        thumbnail: a JPEG.
        recording: as it was delivered. None also if it has more than `MAX_RECORDING` bytes.
    """

    key: str
    caption: str | None = None
    thumbnail: bytes | None = None
    recording: Original | None = None


def read_cards(opened: OpenRelease, items: Sequence[Item]) -> list[Card]:
    """The cards of items of the release, in the order of `items`."""
    cards: dict[Item, Card] = {}
    for modality in {item.modality for item in items}:
        parts = [item.part_id for item in items if item.modality == modality]
        rows = opened.gallery_dataset(modality).to_table(
            columns=["part_id", *CARD_COLUMNS], filter=one_of("part_id", parts)
        )
        media = recordings(opened, parts, MAX_RECORDING) if modality == "audio" else {}
        for row in rows.to_pylist():
            part = row.pop("part_id")
            cards[Item(modality, part)] = Card(**row, recording=media.get(part))
    return [cards[item] for item in items]
