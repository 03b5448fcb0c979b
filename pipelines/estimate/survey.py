"""Looks at some records of a source before anything is made: parts, sizes, languages, failures."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from pipelines.samples.sample_row import sample_row
from pipelines.signals.scorers.text_language import language
from pipelines.sources.drops import Drop
from pipelines.sources.name_captions import name_caption
from pipelines.sources.read import read_unit
from pipelines.sources.records import BadRecord
from pipelines.sources.units import list_units
from store.config.limits import Limits
from store.errors import RecordError

_RECORDS, _SECONDS, _DROPS = 200, 5.0, 20  # at most


@dataclass
class Survey:
    """What some records of a source are.

    Attributes:
        records: that were read.
        parts: how many have a part, by modality; "caption" counts texts beside an image or audio.
        failed: how many cannot be used, by rule of the ledger.
        problems: what is wrong with the first of them, by rule.
        media_bytes: of their images and sounds.
        sides: the shorter sides of their images, in pixels.
        seconds: the lengths of their sounds.
        languages: of their texts, by ISO 639 code.
        names: captions that the names of files would give, of those without a caption.
        decoding: processor seconds that reading and decoding them took.
    """

    records: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    media_bytes: int = 0
    sides: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    decoding: float = 0.0

    def add(self, row: dict, is_file: bool) -> None:
        """Count a row of the table of samples.

        Args:
            row: of a record.
            is_file: it is of loose files, whose name is its key.
        """
        modalities = [m for m in ("image", "text", "audio") if row[f"{m}_id"]]
        self.parts.update(modalities)
        if row["text"]:
            self.parts["caption"] += len(modalities) > 1
            self.languages[language(row["text"])[0]] += 1
        elif is_file and (name := name_caption(row["key"])):
            self.names.append(name)
        for modality in ("image", "audio"):
            self.media_bytes += row.get(f"{modality}_bytes", 0)
        if "image_width" in row:
            self.sides.append(min(row["image_width"], row["image_height"]))
        if "audio_seconds" in row:
            self.seconds.append(row["audio_seconds"])


def survey(drops: Iterable[Drop], limits: Limits) -> Survey:
    """Read and decode up to 200 records, for at most about five seconds.

    Args:
        drops: of the source. The first records of up to 20 drops are read.
        limits: of corpus.yaml.

    Raises:
        SourceError: a drop cannot be read.
    """
    result = Survey()
    chosen = list(islice(drops, _DROPS))
    share = -(-_RECORDS // max(len(chosen), 1))
    language("The model is loaded before the time is taken.")
    end = time.monotonic() + _SECONDS
    started = time.process_time()
    for drop in chosen:
        for row, is_file in islice(_rows(drop, limits), share):
            result.records += 1
            if isinstance(row, RecordError):
                result.failed[row.rule] += 1
                result.problems.setdefault(row.rule, row.error)
            else:
                result.add(row, is_file)
            if time.monotonic() > end:
                break  # one record of every drop is read all the same
    result.decoding = time.process_time() - started
    return result


def _rows(drop: Drop, limits: Limits) -> Iterator[tuple[dict | RecordError, bool]]:
    """Rows of the table of samples, or what is wrong, and whether they are of loose files."""
    for unit in list_units(drop):
        for record in read_unit(unit, limits):
            row: dict | RecordError
            try:
                row = record.error if isinstance(record, BadRecord) else sample_row(record, limits)
            except RecordError as error:
                row = error
            yield row, unit.format == "folder"
