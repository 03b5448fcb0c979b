"""The signals of the curation page: values, limits, and the samples with extreme values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from pipelines.reports.canvas import short_number
from pipelines.reports.curation.column_statistics import MOST, Numbers, SampleRef, Tally, Words
from pipelines.reports.curation.columns import Column
from pipelines.reports.curation.sample_cards import Card, Cards
from pipelines.reports.curation.thresholds import Limit
from pipelines.reports.histograms import Mark, Panel

SHOWN, TIED = 10, 5  # samples shown at an end, and if many more have the same value
_MOST_NAMES = 12


@dataclass
class End:
    """Samples at one end of a signal.

    Attributes:
        title: its heading.
        rows: (sample, value as text), the most extreme first.
        most: how many to show.
        shown: (card, value as text) of the samples that were chosen.
    """

    title: str
    rows: list[tuple[SampleRef, str]]
    most: int = SHOWN
    shown: list[tuple[Card, str]] = field(default_factory=list)


@dataclass
class Signal:
    """A column that has values.

    Attributes:
        column: the column.
        tally: its statistics.
        samples: all samples, with or without a value.
        limits: the policy's limits.
        beyond: (limit, samples that it cuts off, share of samples with a value).
        names: (value, samples, share, rejected by the policy) of a text column.
        more_names: values that are not in `names`.
        ends: samples at both ends.
        histogram: as SVG, if it has one.
    """

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
        """Samples without a value."""
        return self.samples - self.tally.valid

    @property
    def unreal(self) -> int:
        """Values that are NaN or infinite."""
        return self.tally.unreal if isinstance(self.tally, Numbers) else 0

    @property
    def range(self) -> str:
        """Its least and greatest value, or the number of its values, as text."""
        if isinstance(self.tally, Words):
            count = len(self.tally.counts)
            return f"{count:,} value{'s' if count > 1 else ''}"
        low, high = short_number(self.tally.low), short_number(self.tally.high)
        return f"always {low}" if low == high else f"{low} to {high}"

    @property
    def fullest(self) -> int:
        """Values in the fullest bin of the histogram."""
        return int(self.tally.counts.max(initial=0)) if isinstance(self.tally, Numbers) else 0

    @property
    def panel(self) -> Panel | None:
        """The data of its histogram; None if that would be one bar without a limit."""
        if not isinstance(self.tally, Numbers) or not (self.ends or self.limits):
            return None
        marks = marks_of(self.limits)
        return Panel(self.column.name, self.tally.counts, self.tally.edges, marks)

    @property
    def drawn(self) -> set[str]:
        """The modalities that are drawn on its cards; a caption is always shown."""
        part = self.column.part
        return {"image", "audio"} if part is None else {part} - {"text"}

    def candidates(self) -> set[SampleRef]:
        """The samples at its ends, more than are shown."""
        return {sample for end in self.ends for sample, _ in end.rows}

    def choose(self, cards: Cards) -> list[SampleRef]:
        """Choose the samples to show: at each end the first ones with different parts."""
        parts: set[str] = set()
        for end in self.ends:
            for sample, value in end.rows:
                card = cards.get(sample)
                if card is None or (part := card.part(self.column.part)) in parts:
                    continue
                if len(end.shown) < end.most:
                    end.shown.append((card, value))
                    parts.add(part)
        return [card.sample for end in self.ends for card, _ in end.shown]


def marks_of(limits: Iterable[Limit]) -> list[Mark]:
    """The limits that can be drawn into a histogram, lowest first."""
    marks = [Mark(str(limit), limit.at, limit.cuts) for limit in limits if limit.at is not None]
    return sorted(marks, key=lambda mark: mark.at)


def signal(column: Column, tally: Tally, samples: int, limits: Sequence[Limit]) -> Signal:
    """A column as the page shows it; `samples` counts all, with or without a value."""
    if isinstance(tally, Words):
        return _text_signal(column, tally, samples, limits)
    beyond = [
        (str(limit), count, count / tally.valid)
        for limit in limits
        if limit.at is not None and limit.cuts and limit.is_of_all
        for count in [tally.beyond[limit]]
        if tally.valid
    ]
    return Signal(column, tally, samples, limits, beyond, [], 0, _ends(tally, limits))


def _ends(numbers: Numbers, limits: Sequence[Limit]) -> list[End]:
    """The lowest and the highest values, first the end that a limit cuts off.

    There are none if all values are equal.
    """
    if not numbers.low < numbers.high:
        return []
    cuts = {limit.cuts for limit in limits}
    cuts_low, cuts_high = "low" in cuts, "high" in cuts
    titles = {
        (True, False): ("Worst: lowest values", "Best: highest values"),
        (False, True): ("Best: lowest values", "Worst: highest values"),
    }.get((cuts_low, cuts_high), ("Lowest values", "Highest values"))
    ends = []
    sides = ((numbers.lowest, numbers.high), (numbers.highest, numbers.low))
    for title, (end, other) in zip(titles, sides, strict=True):
        rows = [row for row in end.rows() if row[1] != other]
        is_tied = len(rows) == MOST and rows[0][1] == rows[-1][1]
        if is_tied:
            title = f"{title} (some of many samples with {short_number(rows[0][1])})"
        texts = [(sample, short_number(value)) for sample, value in rows]
        ends.append(End(title, texts, TIED if is_tied else SHOWN))
    return ends[::-1] if cuts_high and not cuts_low else ends


def _text_signal(column: Column, words: Words, samples: int, limits: Sequence[Limit]) -> Signal:
    rejected = {v for v in words.counts if any(limit.refuses(v) for limit in limits)}
    common = sorted(words.counts.items(), key=lambda c: (-c[1], c[0]))
    names = [
        (value, count, count / words.valid, value in rejected)
        for value, count in common[:_MOST_NAMES]
    ]
    bad = [value for value, _ in common if value in rejected]
    rare = [value for value, _ in reversed(common) if value not in rejected]
    ends = []
    if bad:
        ends.append(End("Rejected values", _first(words, bad)))
    if len(rare) > 1:
        ends.append(End("Rarest values", _first(words, rare)))
    return Signal(column, words, samples, limits, [], names, len(common) - len(names), ends)


def _first(words: Words, values: Sequence[str]) -> list[tuple[SampleRef, str]]:
    """The first sample of each value, then the second ones, and so on."""
    rounds = zip_longest(*([(sample, value) for sample in words.first[value]] for value in values))
    return [row for one_round in rounds for row in one_round if row is not None][:MOST]
