"""What the explorer is answered about the curation. The server's description imports this alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Records lost to one rule of one stage, with one of them as an example.

    Attributes:
        stage: such as signals.
        outcome: failed, unmeasured or rejected.
        rule: or the scorer that failed.
        records: how many.
        key: of the example.
        value: of the example.
        threshold: of the rule.
        error: of the example.
    """

    stage: str
    outcome: str
    rule: str
    records: int
    key: str | None
    value: str | None
    threshold: str | None
    error: str | None


@dataclass(frozen=True)
class Example:
    """A sample at an end of a signal, of those that the decisions keep.

    Attributes:
        id: of the sample.
        key: of the sample.
        part_id: of its picture; None: it has none.
        value: of the signal.
    """

    id: str
    key: str
    part_id: str | None
    value: float


@dataclass(frozen=True)
class Histogram:
    """The values of a signal.

    Attributes:
        name: of the signal.
        rows: samples.
        valid: those with a finite value.
        edges: (n + 1) increasing edges of the bins.
        counts: (n) samples in each bin.
        min: the policy's smallest allowed value.
        max: the policy's largest allowed value.
        lowest: the kept samples with the least values, the least first; none if all are equal.
        highest: the kept samples with the greatest values, the greatest first.
    """

    name: str
    rows: int
    valid: int
    edges: list[float]
    counts: list[int]
    min: float | None
    max: float | None
    lowest: list[Example]
    highest: list[Example]


@dataclass(frozen=True)
class Bar:
    """A value of a text signal, how many samples have it, and whether the policy rejects it."""

    value: str
    samples: int
    rejected: bool


@dataclass(frozen=True)
class Bars:
    """The values of a text signal, such as the language.

    Attributes:
        name: of the signal.
        rows: samples.
        valid: those with a value.
        values: the most frequent ones, the most frequent first.
        more: how many different values there are beside these.
    """

    name: str
    rows: int
    valid: int
    values: list[Bar]
    more: int


@dataclass(frozen=True)
class StageRun:
    """The newest run of a stage.

    Attributes:
        stage: such as signals.
        drop: that it made; None: it made all drops together.
        published_at: its end, ISO 8601.
        seconds: that it took.
        input: records, or parts, that went in.
        kept: of them.
        rejected: of them.
        failed: of them.
    """

    stage: str
    drop: str | None
    published_at: str
    seconds: float
    input: int
    kept: int
    rejected: int
    failed: int


@dataclass(frozen=True)
class Overview:
    """The curation of a corpus.

    Attributes:
        kept: samples that the newest decisions keep.
        rejected: samples that they reject.
        policy: the policy of corpus.yaml as YAML, with its presets written out.
        problems: errors first, then by the number of records.
        runs: of stages, those with failures first, then the newest; not all if there are many.
        histograms: of the numeric signals that have values.
        bars: of the text signals that have values.
    """

    kept: int
    rejected: int
    policy: str
    problems: list[Problem]
    runs: list[StageRun]
    histograms: list[Histogram]
    bars: list[Bars]


@dataclass(frozen=True)
class RuleChange:
    """How many samples a rule rejects under the policy of corpus.yaml, and under another one."""

    rule: str
    before: int
    after: int


@dataclass(frozen=True)
class Alternative:
    """What another policy would keep.

    Attributes:
        total: samples.
        before: those that the policy of corpus.yaml keeps.
        after: those that the other one would keep.
        rules: of both policies.
        policy: the other policy as YAML.
    """

    total: int
    before: int
    after: int
    rules: list[RuleChange]
    policy: str
