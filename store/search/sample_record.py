"""What the tables say about one sample of a release, beside its content.

Its parts and whether they are hubs, signals, verdicts, duplicates, and the releases that have it.
Other samples are named by id alone: those that are not in the release cannot be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from store.errors import NotFoundError
from store.search.explain import HUB_DEVIATIONS
from store.search.opened import OpenRelease
from store.search.release_items import check_sample, deleted_sample
from store.search.result_json import row_values
from store.tables import releases, schema
from store.tables.lance_tables import one_of, quote
from store.tables.names import pairs_table

_MOST_DUPLICATES = 100


@dataclass(frozen=True)
class HubShare:
    """How often queries of one modality find a part.

    Attributes:
        query: the modality of the queries.
        occurrence: in how many raw top tens of the bank's queries the part is.
        mean: of `occurrence` over the gallery.
        hub: whether `occurrence` is more than two standard deviations above the mean.
        bias: what the correction subtracts from the part's scores.
    """

    query: str
    occurrence: int
    mean: float
    hub: bool
    bias: float


@dataclass(frozen=True)
class PartRecord:
    """A part of the sample in the release's galleries; `hubs` has the modalities with a bank."""

    modality: str
    part_id: str
    hubs: list[HubShare]


@dataclass(frozen=True)
class LedgerEntry:
    """A problem of the sample in a stage: rejected by a rule, failed, or not measured."""

    stage: str
    outcome: str
    rule: str
    value: str | None
    threshold: str | None
    error: str | None


@dataclass(frozen=True)
class Delivery:
    """The sample as one drop delivered it, and what was decided about it there.

    Attributes:
        drop: that has the sample.
        source: the file that the sample was read from.
        key: of the sample in this drop.
        keep: what the newest decisions say; None before they are made.
        rule: the rule that rejected it, with the sample's `value` and the rule's `threshold`.
        value: of the sample.
        threshold: of the rule.
        ledger: its problems.
    """

    drop: str
    source: str
    key: str
    keep: bool | None
    rule: str | None
    value: str | None
    threshold: str | None
    ledger: list[LedgerEntry]


@dataclass(frozen=True)
class Duplicate:
    """A member of the sample's cluster of duplicates. The representative is the one that stays."""

    id: str
    drop: str
    kind: str
    representative: bool
    similarity: float


@dataclass(frozen=True)
class Appearance:
    """A kept release, and the modalities of its galleries that have a part of the sample."""

    release: int
    created_at: str
    modalities: list[str]


@dataclass(frozen=True)
class SampleRecord:
    """What the tables say about one sample. `signals` has the measurements that it has."""

    id: str
    parts: list[PartRecord]
    deliveries: list[Delivery]
    signals: dict[str, int | float | str]
    duplicates: list[Duplicate]
    releases: list[Appearance]


def sample_record(opened: OpenRelease, sample_id: str) -> SampleRecord:
    """Collect what the tables say about a sample of the release.

    Raises:
        InputError: this is not an id.
        NotFoundError: the release has no such sample, or it was deleted since.
    """
    check_sample(opened, sample_id)
    columns = ["drop", "source", "key", *(f"{m}_id" for m in schema.MODALITIES)]
    where = f"id = {quote(sample_id)}"
    rows = opened.tables.scan("samples", schema.SAMPLES, columns, where).to_pylist()
    if not rows:
        raise deleted_sample(sample_id)
    parts = {m: rows[0][f"{m}_id"] for m in schema.MODALITIES if rows[0][f"{m}_id"]}
    return SampleRecord(
        sample_id,
        [
            _part(opened, modality, part_id)
            for modality, part_id in parts.items()
            if modality in opened.release.modalities
        ],
        _deliveries(opened, rows, where),
        _signals(opened, where),
        _duplicates(opened, sample_id),
        _appearances(opened, parts),
    )


def _part(opened: OpenRelease, modality: str, part_id: str) -> PartRecord:
    banks = schema.MODALITIES
    columns = [f"{name}_{m}" for name in ("occurrence", "bias") for m in banks]
    gallery = opened.gallery_dataset(modality)
    where = f"part_id = {quote(part_id)}"
    rows = gallery.to_table(columns=columns, filter=where, limit=1).to_pylist()
    hubs = []
    for m in banks if rows else ():
        if (count := rows[0][f"occurrence_{m}"]) is not None:
            mean, deviation = opened.occurrence(modality, m)
            is_hub = count > mean + HUB_DEVIATIONS * deviation
            hubs.append(HubShare(m, count, mean, is_hub, rows[0][f"bias_{m}"]))
    return PartRecord(modality, part_id, hubs)


def _deliveries(
    opened: OpenRelease, samples: Sequence[dict[str, Any]], where: str
) -> list[Delivery]:
    tables = opened.tables
    decided = {
        row["drop"]: row
        for row in tables.scan("decisions", schema.DECISIONS, where=where).to_pylist()
    }
    problems = tables.scan("ledger", schema.LEDGER, where=where).to_pylist()
    names = LedgerEntry.__dataclass_fields__
    made = []
    for sample in sorted(samples, key=lambda row: row["drop"]):
        drop = sample["drop"]
        verdict = decided.get(drop, {})
        ledger = [LedgerEntry(**{n: p[n] for n in names}) for p in problems if p["drop"] == drop]
        values = {name: verdict.get(name) for name in ("keep", "rule", "value", "threshold")}
        own = {name: sample[name] for name in ("drop", "source", "key")}
        made.append(Delivery(**own, **values, ledger=ledger))
    return made


def _signals(opened: OpenRelease, where: str) -> dict[str, int | float | str]:
    """The measurements of the sample's first drop that are not null."""
    signals: dict[str, int | float | str] = {}
    pairs = pairs_table(opened.release.space)
    for table, columns, names in (
        ("signals", schema.SIGNALS, schema.SIGNAL_TYPES),
        (pairs, schema.PAIRS, schema.PAIR_TYPES),
    ):
        rows = opened.tables.scan(table, columns, ["drop", *names], where).sort_by("drop")
        for row in row_values(rows.slice(0, 1)):
            signals |= {n: v for n, v in row.items() if n != "drop" and v is not None}
    return signals


def _duplicates(opened: OpenRelease, sample_id: str) -> list[Duplicate]:
    """The other members of its clusters. The representative's id is the cluster's name."""
    own = opened.tables.scan(
        "duplicates", schema.DUPLICATES, ["cluster"], f"id = {quote(sample_id)}"
    )
    clusters = {sample_id, *own["cluster"].to_pylist()}
    names = list(Duplicate.__dataclass_fields__)
    where = f"{one_of('cluster', sorted(clusters))} AND id != {quote(sample_id)}"
    rows = opened.tables.scan("duplicates", schema.DUPLICATES, names, where)
    members = rows.sort_by([("drop", "ascending"), ("id", "ascending")])
    return [Duplicate(**row) for row in members.slice(0, _MOST_DUPLICATES).to_pylist()]


def _appearances(opened: OpenRelease, parts: dict[str, str]) -> list[Appearance]:
    made = []
    for release in releases.kept_releases(opened.tables):
        try:
            other = opened.at(release.number)
        except NotFoundError:  # a new release took its place meanwhile
            continue
        modalities = [
            modality
            for modality, part_id in parts.items()
            if modality in release.modalities
            and other.gallery_dataset(modality).count_rows(f"part_id = {quote(part_id)}")
        ]
        made.append(Appearance(release.number, release.created_at.isoformat(), modalities))
    return made
