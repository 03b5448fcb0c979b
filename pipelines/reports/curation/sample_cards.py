"""Samples as cards of the page: caption, thumbnail or waveform, and the decision.

Only what is shown is read: facts of the candidates by id, then images and recordings of the chosen
samples by row id, a few at a time. The card of a part that cannot be decoded shows the error.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from embedders.media.audio import load_mono
from embedders.media.image import thumbnail
from pipelines.reports.curation.column_statistics import SampleRef
from pipelines.reports.html import short
from store.errors import RecordError
from store.tables import schema
from store.tables.lance_tables import one_of
from store.tables.table_version import take_rows
from store.workspace import Workspace

_SIDE = 112  # pixels of a thumbnail
_POINTS, _RATE, _SECONDS = 56, 4_000, 20.0  # of a waveform: bars, samples per second, length
_IDS, _MEDIA = 4_096, 8  # ids in a query; media in memory at once
_ERROR_CHARS = 120
_FACTS = [f.name for f in schema.SAMPLES if f.name not in ("text", "image", "audio", "meta")]


@dataclass
class Card:
    """A sample as it is shown.

    Attributes:
        row: its row of `samples`, without media.
        keep: its decision; None if there is none.
        rule: the rule that rejected it.
        threshold: of the rule.
        caption: its text, shortened.
        chars: length of the whole text.
        thumbnail: of its image, encoded.
        wave: heights (0 to 1) of the beginning of its recording.
        problem: why a part could not be decoded.
    """

    row: dict[str, Any]
    keep: bool | None = None
    rule: str | None = None
    threshold: str | None = None
    caption: str | None = None
    chars: int = 0
    thumbnail: bytes | None = None
    wave: list[float] = field(default_factory=list)
    problem: str | None = None

    @property
    def sample(self) -> SampleRef:
        """Its drop and id."""
        return self.row["drop"], self.row["id"]

    @property
    def key(self) -> str:
        """Its key in its drop."""
        return self.row["key"]

    @property
    def name(self) -> str:
        """The last part of its key, if that is a path."""
        return self.key.rstrip("/").rpartition("/")[2] or self.key

    @property
    def breakable_rule(self) -> str:
        """The rule with zero-width spaces, where a line may be broken."""
        return re.sub(r"([._])", "\\1\u200b", self.rule or "")

    def part(self, modality: str | None) -> str:
        """The id of its part of a modality, or its own id if it has none; None: its own id."""
        return (modality and self.row[f"{modality}_id"]) or self.row["id"]

    def facts(self) -> dict[str, str]:
        """Facts that two duplicates may differ in, as text."""
        row, facts = self.row, {}
        if row["image_width"]:
            facts["image"] = f"{row['image_width']} x {row['image_height']} {row['image_format']}"
            facts["bytes"] = f"{row['image_bytes']:,} bytes"
        if row["audio_seconds"]:
            facts["audio"] = f"{row['audio_seconds']:.1f} s {row['audio_format']}"
        if self.chars:
            facts["text"] = f"{self.chars:,} characters"
        return facts


class Cards:
    """Cards of the samples that were looked up."""

    def __init__(self, workspace: Workspace):
        self._tables = workspace.tables
        self._cards: dict[SampleRef, Card] = {}
        self._thumbnails: dict[str, tuple[bytes | None, str | None]] = {}
        self._waves: dict[str, tuple[list[float], str | None]] = {}

    def get(self, sample: SampleRef) -> Card | None:
        """The card of a sample; None if it was not looked up or does not exist."""
        return self._cards.get(sample)

    def look_up(self, samples: Iterable[SampleRef]) -> None:
        """Read the rows of `samples` and `decisions`, without media."""
        ids = sorted({sample[1] for sample in samples if sample not in self._cards})
        for chunk in _chunks(ids, _IDS):
            self._look_up(one_of("id", chunk))

    def _look_up(self, where: str) -> None:
        if not self._tables.exists("samples"):
            return
        rows = self._tables.open("samples").to_table(_FACTS, filter=where, with_row_id=True)
        for row in rows.to_pylist():
            self._cards[row["drop"], row["id"]] = Card(row)
        columns = ["drop", "id", "keep", "rule", "threshold"]
        for row in self._tables.scan("decisions", schema.DECISIONS, columns, where).to_pylist():
            if (card := self._cards.get((row["drop"], row["id"]))) is not None:
                card.keep, card.rule = row["keep"], row["rule"]
                card.threshold = row["threshold"]

    def draw(self, modalities: Mapping[SampleRef, set[str]]) -> None:
        """Read captions, and make thumbnails and waveforms.

        Args:
            modalities: "image", "audio" or both, by sample that was looked up.
        """
        wanted = [(self._cards[sample], parts) for sample, parts in modalities.items()]
        drawn: dict[str, dict] = {"image": self._thumbnails, "audio": self._waves}
        for modality in ("text", "image", "audio"):
            missing = [
                card
                for card, parts in wanted
                if card.row[f"{modality}_id"]
                and (modality in parts or modality == "text")
                and card.row[f"{modality}_id"] not in drawn.get(modality, {})
            ]
            for chunk in _chunks(missing, _MEDIA):
                self._read(modality, chunk)
        for card, parts in wanted:
            image, audio = card.row["image_id"], card.row["audio_id"]
            if "image" in parts and image:
                card.thumbnail, card.problem = self._thumbnails[image]
            if "audio" in parts and audio:
                card.wave, problem = self._waves[audio]
                card.problem = card.problem or problem

    def _read(self, modality: str, cards: list[Card]) -> None:
        dataset = self._tables.open("samples")
        rows = [card.row["_rowid"] for card in cards]
        media = take_rows(dataset, rows, [modality])[modality]
        for card, cell in zip(cards, media, strict=True):
            data, part = cell.as_py(), card.row[f"{modality}_id"]
            if modality == "text":
                card.caption, card.chars = short(data), len(data or "")
            elif modality == "image" and part not in self._thumbnails:
                self._thumbnails[part] = _thumbnail(data)
            elif modality == "audio" and part not in self._waves:
                self._waves[part] = _wave(data)


def _thumbnail(data: bytes | None) -> tuple[bytes | None, str | None]:
    """(thumbnail, None), or (None, error)."""
    try:
        return thumbnail(data or b"", _SIDE), None
    except RecordError as error:
        return None, short(error, _ERROR_CHARS)


def _wave(data: bytes | None) -> tuple[list[float], str | None]:
    """(heights, None), or ([], error). A height is the square root of the greatest amplitude of a
    piece, so that quiet pieces are visible."""
    try:
        sound = np.abs(load_mono(data or b"", _RATE, _SECONDS))
    except RecordError as error:
        return [], short(error, _ERROR_CHARS)
    pieces = np.array_split(sound, min(_POINTS, max(1, len(sound))))
    heights = [float(piece.max(initial=0)) for piece in pieces]
    return np.sqrt(np.clip(heights, 0, 1)).round(3).tolist(), None


def _chunks(values: list, size: int) -> Iterator[list]:
    remaining = iter(values)
    while chunk := list(islice(remaining, size)):
        yield chunk
