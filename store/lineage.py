"""Lineage: what happened to a record in every stage, read from the tables."""

from dataclasses import dataclass

from store.errors import NotFoundError
from store.tables import releases, schema
from store.tables.cascade_notes import parse_notes, reason_of, seconds_of
from store.tables.lance_tables import Tables, one_of, quote

_SAMPLE = ["drop", "id", "source", "key", "image_id", "text_id", "audio_id"]


@dataclass(frozen=True)
class Event:
    """What happened to one record in one stage.

    Attributes:
        drop: of the record.
        key: of the record.
        stage: the stage, or "search".
        outcome: such as "kept", "rejected" or "failed".
        detail: the reason.
    """

    drop: str
    key: str
    stage: str
    outcome: str
    detail: str


def trace_record(tables: Tables, name: str) -> list[Event]:
    """The events of the records with a key, a sample id or a part id, in the order of stages.

    Raises:
        NotFoundError: there is no such record.
    """
    literal = quote(name)
    columns = ("key", "id", "image_id", "text_id", "audio_id")
    where = " OR ".join(f"{column} = {literal}" for column in columns)
    samples = tables.scan("samples", schema.SAMPLES, _SAMPLE, where).to_pylist()
    events = [
        Event(s["drop"], s["key"], "samples", "kept", f"read from {s['source']}, id {s['id']}")
        for s in samples
    ]
    in_ledger = f"key = {literal} OR id = {literal}"
    for row in tables.scan("ledger", schema.LEDGER, where=in_ledger).to_pylist():
        events.append(Event(row["drop"], row["key"], row["stage"], row["outcome"], _reason(row)))
    if not events:
        raise NotFoundError(
            f"{name!r}: no record with this key or id has been read; `isotrope run` reads new drops"
        )
    if not samples:
        return events
    keys = {(s["drop"], s["id"]): s["key"] for s in samples}
    of_samples = one_of("id", [s["id"] for s in samples])
    noted = ["drop", "id", "cascade"]
    for row in tables.scan("signals", schema.SIGNALS, noted, of_samples).to_pylist():
        if (key := keys.get((row["drop"], row["id"]))) is not None:
            events += [Event(row["drop"], key, "signals", *why) for why in _unmeasured(row)]
    for row in tables.scan("decisions", schema.DECISIONS, where=of_samples).to_pylist():
        if (key := keys.get((row["drop"], row["id"]))) is not None:
            outcome = "kept" if row["keep"] else "rejected"
            detail = _kept_as(row) if row["keep"] else _reason(row)
            events.append(Event(row["drop"], key, "decisions", outcome, detail))
    for row in tables.scan("duplicates", schema.DUPLICATES, where=of_samples).to_pylist():
        if (key := keys.get((row["drop"], row["id"]))) is not None:
            events.append(Event(row["drop"], key, "duplicates", row["kind"], _role(row)))
    return events + _search_events(tables, samples)


def _unmeasured(row: dict) -> list[tuple[str, str]]:
    """Outcome and reason for each scorer of the cascade that did not measure a sample."""
    notes = parse_notes(row["cascade"])
    skipped = {name: note for name, note in notes.items() if seconds_of(note) is None}
    return [("unmeasured", f"{name}: {reason_of(note)}") for name, note in skipped.items()]


def _kept_as(row: dict) -> str:
    """How a sample is kept: as it is, or with the caption of another one."""
    if row["repair_text_id"] is None:
        return "passes the policy"
    caption = row["repair_text"]
    return f"passes the policy with the caption of {row['repair_from']}: {caption!r}"


def _role(row: dict) -> str:
    """The role of a sample in its cluster of duplicates."""
    if row["representative"]:
        return "is the representative of its duplicates"
    if row["kind"] == "exact":
        return "is represented by the same sample of another drop"
    similarity = f"similarity {row['similarity']:.3f}"
    if row["kind"].startswith(schema.EVALUATION_PREFIX):
        return f"is similar to the evaluation sample {row['cluster']}, {similarity}"
    return f"is represented by {row['cluster']}, {similarity}"


def _search_events(tables: Tables, samples: list[dict]) -> list[Event]:
    """Whether the newest release contains the parts of the samples."""
    published = releases.list_releases(tables)
    if not published:
        return []
    release, events = published[-1], []
    for modality in release.modalities:
        column = f"{modality}_id"
        parts = {s[column]: s for s in samples if s[column]}
        if not parts:
            continue
        gallery = tables.open(release.gallery(modality), version=release.tag)
        rows = gallery.to_table(columns=["part_id"], filter=one_of("part_id", parts))
        searchable = set(rows["part_id"].to_pylist())
        for part, sample in parts.items():
            outcome = "found" if part in searchable else "not found"
            detail = f"release {release.number}, {modality} {part}"
            events.append(Event(sample["drop"], sample["key"], "search", outcome, detail))
    return events


def _reason(row: dict) -> str:
    if row.get("error"):
        return f"{row['rule']}: {row['error']}"
    limit = f", the limit is {row['threshold']}" if row["threshold"] is not None else ""
    return f"{row['rule']}: {row['value']}{limit}"
