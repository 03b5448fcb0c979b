"""What became of a record: everything that the tables know of a key or an id."""

from dataclasses import dataclass

from store.errors import NotFoundError
from store.tables import releases, schema
from store.tables.lance_tables import Tables, one_of, quote

_SAMPLE = ["drop", "id", "source", "key", "image_id", "text_id", "audio_id"]


@dataclass(frozen=True)
class Event:
    """One thing that happened to a record: where, what, and why."""

    drop: str
    key: str
    stage: str
    outcome: str
    detail: str


def why(tables: Tables, name: str) -> list[Event]:
    """The story of a key, a sample id or a part id, stage by stage.

    Raises:
        NotFoundError: no table has ever seen it.
    """
    wanted = quote(name)
    ids = " OR ".join(f"{c} = {wanted}" for c in ("key", "id", "image_id", "text_id", "audio_id"))
    samples = tables.scan("samples", schema.SAMPLES, _SAMPLE, ids).to_pylist()
    steps = [
        Event(s["drop"], s["key"], "samples", "kept", f"read from {s['source']}, id {s['id']}")
        for s in samples
    ]
    known = [s["id"] for s in samples]
    condition = f"key = {wanted} OR id = {wanted}"
    for row in tables.scan("ledger", schema.LEDGER, where=condition).to_pylist():
        steps.append(Event(row["drop"], row["key"], row["stage"], row["outcome"], _reason(row)))
    if not steps:
        raise NotFoundError(
            f"{name!r}: no record with this key or id has been read; `isotrope run` reads what is"
            " delivered"
        )
    if not known:
        return steps
    keys = {(s["drop"], s["id"]): s["key"] for s in samples}
    here = one_of("id", known)
    for row in tables.scan("decisions", schema.DECISIONS, where=here).to_pylist():
        place = (row["drop"], row["id"])
        if place in keys:
            outcome = "kept" if row["keep"] else "rejected"
            detail = "passes the policy" if row["keep"] else _reason(row)
            steps.append(Event(row["drop"], keys[place], "decisions", outcome, detail))
    for row in tables.scan("duplicates", schema.DUPLICATES, where=here).to_pylist():
        place = (row["drop"], row["id"])
        if place in keys:
            steps.append(Event(*place[:1], keys[place], "duplicates", row["kind"], _role(row)))
    return steps + _shown(tables, samples)


def _role(row: dict) -> str:
    if row["representative"]:
        return "stands for the others"
    if row["kind"] == "exact":
        return "another one stands for it"
    how = f"similarity {row['similarity']:.3f}"
    if row["kind"].startswith(schema.EVALUATION):
        return f"near to the evaluation sample {row['cluster']}, {how}"
    return f"{row['cluster']} stands for it, {how}"


def _shown(tables: Tables, samples: list[dict]) -> list[Event]:
    """Where search finds it, if it does."""
    found = releases.listed(tables)
    if not found:
        return []
    release, steps = found[-1], []
    for modality in release.modalities:
        column = f"{modality}_id"
        parts = {s[column]: s for s in samples if s[column]}
        if not parts:
            continue
        gallery = tables.open(release.gallery(modality), version=release.tag)
        rows = gallery.to_table(columns=["part_id"], filter=one_of("part_id", parts))
        there = set(rows["part_id"].to_pylist())
        for part, sample in parts.items():
            outcome = "found" if part in there else "not found"
            detail = f"release {release.number}, {modality} {part}"
            steps.append(Event(sample["drop"], sample["key"], "search", outcome, detail))
    return steps


def _reason(row: dict) -> str:
    if row.get("error"):
        return f"{row['rule']}: {row['error']}"
    limit = f", the limit is {row['threshold']}" if row["threshold"] is not None else ""
    return f"{row['rule']}: {row['value']}{limit}"
