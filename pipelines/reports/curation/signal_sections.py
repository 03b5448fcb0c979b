"""The signals of the page: what their values are, what a limit cuts, the samples at both ends."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from pipelines.reports.canvas import short_number
from pipelines.reports.curation.column_statistics import MOST, Numbers, SampleRef, Tally, Words
from pipelines.reports.curation.columns import Column
from pipelines.reports.curation.sample_cards import Samples, Shown
from pipelines.reports.curation.thresholds import Limit
from pipelines.reports.histograms import Mark, Panel

SHOWN, TIED = 10, 5  # samples at an end, and where many more of them are equal
_NAMES = 12


@dataclass
class End:
    """Samples at one end: what they are called, and each with its value."""

    title: str
    rows: list[tuple[SampleRef, str]]
    most: int = SHOWN
    shown: list[tuple[Shown, str]] = field(default_factory=list)


@dataclass
class Signal:
    """A column with values. `missing` are samples without one, `beyond` (limit, samples, share of
    those measured), `names` (value, samples, share, refused by the policy)."""

    column: Column
    tally: Tally
    samples: int
    limits: Sequence[Limit]
    beyond: list[tuple[str, int, float]]
    names: list[tuple[str, int, float, bool]]
    more_names: int
    ends: list[End]
    histogram: str | None = None

    @property
    def missing(self) -> int:
        return self.samples - self.tally.valid

    @property
    def unreal(self) -> int:
        return self.tally.unreal if isinstance(self.tally, Numbers) else 0

    @property
    def spread(self) -> str:
        """Its least and greatest value, as they are read."""
        if isinstance(self.tally, Words):
            count = len(self.tally.counts)
            return f"{count:,} value{'s' if count > 1 else ''}"
        low, high = short_number(self.tally.low), short_number(self.tally.high)
        return f"always {low}" if low == high else f"{low} to {high}"

    @property
    def fullest(self) -> int:
        """Samples in the fullest bin of the histogram."""
        return int(self.tally.counts.max(initial=0)) if isinstance(self.tally, Numbers) else 0

    @property
    def panel(self) -> Panel | None:
        """What its histogram shows; None where that would be one bar without a limit."""
        if not isinstance(self.tally, Numbers) or not (self.ends or self.limits):
            return None
        marks = marks_of(self.limits)
        return Panel(self.column.name, self.tally.counts, self.tally.edges, marks)

    @property
    def draws(self) -> set[str]:
        """The modalities that its samples are shown by, beside their captions."""
        part = self.column.part
        return {"image", "audio"} if part is None else {part} - {"text"}

    def places(self) -> set[SampleRef]:
        return {place for end in self.ends for place, _ in end.rows}

    def choose(self, samples: Samples) -> list[SampleRef]:
        """Of the samples at each end, the first that differ in the part that is measured."""
        seen: set[str] = set()
        for end in self.ends:
            for place, value in end.rows:
                shown = samples.get(place)
                if shown is None or (part := shown.part(self.column.part)) in seen:
                    continue
                if len(end.shown) < end.most:
                    end.shown.append((shown, value))
                    seen.add(part)
        return [shown.place for end in self.ends for shown, _ in end.shown]


def marks_of(limits: Iterable[Limit]) -> list[Mark]:
    """The limits that have a place in a histogram, lowest first."""
    marks = [Mark(str(limit), limit.at, limit.cuts) for limit in limits if limit.at is not None]
    return sorted(marks, key=lambda mark: mark.at)


def signal(column: Column, found: Tally, samples: int, limits: Sequence[Limit]) -> Signal:
    """A column as the page shows it; `samples` counts all, measured or not."""
    if isinstance(found, Words):
        return _of_words(column, found, samples, limits)
    beyond = [
        (str(limit), count, count / found.valid)
        for limit in limits
        if limit.at is not None and limit.cuts and limit.is_of_all
        for count in [found.beyond[limit]]
        if found.valid
    ]
    return Signal(column, found, samples, limits, beyond, [], 0, _ends(found, limits))


def _ends(found: Numbers, limits: Sequence[Limit]) -> list[End]:
    """The end that is cut off first. Where all values are the same there is none."""
    if not found.low < found.high:
        return []
    cuts = {limit.cuts for limit in limits}
    low, high = ("low" in cuts), ("high" in cuts)
    words = {(True, False): ("Worst, the lowest", "Best, the highest"),
             (False, True): ("Best, the lowest", "Worst, the highest")}  # fmt: skip
    names = words.get((low, high), ("The lowest", "The highest"))
    made = []
    sides = ((found.lowest, found.high), (found.highest, found.low))
    for name, (end, other) in zip(names, sides, strict=True):
        rows = [row for row in end.rows() if row[1] != other]
        tied = len(rows) == MOST and rows[0][1] == rows[-1][1]
        title = f"{name}: some of those at {short_number(rows[0][1])}" if tied else name
        told = [(place, short_number(value)) for place, value in rows]
        made.append(End(title, told, TIED if tied else SHOWN))
    return made[::-1] if high and not low else made


def _of_words(column: Column, found: Words, samples: int, limits: Sequence[Limit]) -> Signal:
    refused = {v for v in found.counts if any(limit.refuses(v) for limit in limits)}
    common = sorted(found.counts.items(), key=lambda c: (-c[1], c[0]))
    names = [
        (value, count, count / found.valid, value in refused) for value, count in common[:_NAMES]
    ]
    bad = [value for value, _ in common if value in refused]
    rare = [value for value, _ in reversed(common) if value not in refused]
    ends = []
    if bad:
        ends.append(End("Refused", _first(found, bad)))
    if len(rare) > 1:
        ends.append(End("The rarest", _first(found, rare)))
    return Signal(column, found, samples, limits, [], names, len(common) - len(names), ends)


def _first(found: Words, values: Sequence[str]) -> list[tuple[SampleRef, str]]:
    """One of each value, then another one of each, and so on."""
    turns = zip_longest(*([(place, value) for place in found.first[value]] for value in values))
    return [row for turn in turns for row in turn if row is not None][:MOST]
