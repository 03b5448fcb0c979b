"""Samples as they are shown: caption, thumbnail or waveform, and what was decided of them.

Only what is shown is read: facts of the candidates by their ids, pictures and recordings of the
chosen ones by row ids, a few at a time. What cannot be decoded is a card that says so.
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
from store.tables.lance_tables import one_of, take
from store.workspace import Workspace

_SIDE = 112  # pixels of a thumbnail
_POINTS, _RATE, _SECONDS = 56, 4_000, 20.0  # of a waveform
_IDS, _MEDIA = 4_096, 8
_FACTS = [f.name for f in schema.SAMPLES if f.name not in ("text", "image", "audio", "meta")]


@dataclass
class Shown:
    """A sample: its row of `samples` but for its media, and its decision, if there is one.

    `wave` are the heights (0 to 1) of a recording's beginning, `problem` is why there is no
    picture of a part.
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
    def place(self) -> SampleRef:
        return self.row["drop"], self.row["id"]

    @property
    def key(self) -> str:
        return self.row["key"]

    @property
    def name(self) -> str:
        """The end of its key, where that is a path."""
        return self.key.rstrip("/").rpartition("/")[2] or self.key

    @property
    def why(self) -> str:
        """The rule that it was rejected by, to be broken where words end."""
        return re.sub(r"([._])", "\\1\u200b", self.rule or "")

    def part(self, modality: str | None) -> str:
        """What is the same where two samples share the part; None: the sample itself."""
        return (modality and self.row[f"{modality}_id"]) or self.row["id"]

    def facts(self) -> dict[str, str]:
        """What two copies may differ in, as it is read."""
        row, told = self.row, {}
        if row["image_width"]:
            told["picture"] = f"{row['image_width']} x {row['image_height']} {row['image_format']}"
            told["bytes"] = f"{row['image_bytes']:,} bytes"
        if row["audio_seconds"]:
            told["recording"] = f"{row['audio_seconds']:.1f} s {row['audio_format']}"
        if self.chars:
            told["caption"] = f"{self.chars:,} characters"
        return told


class Samples:
    """The samples of a corpus by place, as far as they were looked up."""

    def __init__(self, workspace: Workspace):
        self._tables = workspace.tables
        self._found: dict[SampleRef, Shown] = {}
        self._drawn: dict[str, tuple[bytes | None, str | None]] = {}
        self._heard: dict[str, tuple[list[float], str | None]] = {}

    def get(self, place: SampleRef) -> Shown | None:
        return self._found.get(place)

    def look_up(self, places: Iterable[SampleRef]) -> None:
        """Reads the rows of `samples` and `decisions`, without media."""
        ids = sorted({place[1] for place in places if place not in self._found})
        for some in _pieces(ids, _IDS):
            self._look_up(one_of("id", some))

    def _look_up(self, here: str) -> None:
        if not self._tables.exists("samples"):
            return
        found = self._tables.open("samples").to_table(_FACTS, filter=here, with_row_id=True)
        for row in found.to_pylist():
            self._found[row["drop"], row["id"]] = Shown(row)
        columns = ["drop", "id", "keep", "rule", "threshold"]
        for row in self._tables.scan("decisions", schema.DECISIONS, columns, here).to_pylist():
            if (shown := self._found.get((row["drop"], row["id"]))) is not None:
                shown.keep, shown.rule = row["keep"], row["rule"]
                shown.threshold = row["threshold"]

    def draw(self, wanted: Mapping[SampleRef, set[str]]) -> None:
        """Reads captions, and makes thumbnails and waveforms.

        Args:
            wanted: the modalities to draw of places that were looked up, "text" aside.
        """
        shown = [(self._found[place], parts) for place, parts in wanted.items()]
        known: dict[str, dict] = {"image": self._drawn, "audio": self._heard}
        for modality in ("text", "image", "audio"):
            missing = [
                s
                for s, parts in shown
                if s.row[f"{modality}_id"]
                and (modality in parts or modality == "text")
                and s.row[f"{modality}_id"] not in known.get(modality, {})
            ]
            for some in _pieces(missing, _MEDIA):
                self._read(modality, some)
        for sample, parts in shown:
            image, audio = sample.row["image_id"], sample.row["audio_id"]
            if "image" in parts and image:
                sample.thumbnail, sample.problem = self._drawn[image]
            if "audio" in parts and audio:
                sample.wave, problem = self._heard[audio]
                sample.problem = sample.problem or problem

    def _read(self, modality: str, samples: list[Shown]) -> None:
        dataset = self._tables.open("samples")
        rows = [s.row["_rowid"] for s in samples]
        media = take(dataset.uri, dataset.version, rows, [modality])[modality]
        for sample, cell in zip(samples, media, strict=True):
            data, part = cell.as_py(), sample.row[f"{modality}_id"]
            if modality == "text":
                sample.caption, sample.chars = short(data), len(data or "")
            elif modality == "image" and part not in self._drawn:
                self._drawn[part] = _thumbnail(data)
            elif modality == "audio" and part not in self._heard:
                self._heard[part] = _wave(data)


def _thumbnail(data: bytes | None) -> tuple[bytes | None, str | None]:
    try:
        return thumbnail(data or b"", _SIDE), None
    except RecordError as error:
        return None, short(error, 120)


def _wave(data: bytes | None) -> tuple[list[float], str | None]:
    """Loudest amplitude of each piece, its root so that quiet ones are seen."""
    try:
        sound = np.abs(load_mono(data or b"", _RATE, _SECONDS))
    except RecordError as error:
        return [], short(error, 120)
    pieces = np.array_split(sound, min(_POINTS, max(1, len(sound))))
    heights = [float(piece.max(initial=0)) for piece in pieces]
    return np.sqrt(np.clip(heights, 0, 1)).round(3).tolist(), None


def _pieces(listed: list, size: int) -> Iterator[list]:
    left = iter(listed)
    while some := list(islice(left, size)):
        yield some
