"""Which samples, parts and records a takedown is about.

All versions of `samples` are read, and all kept galleries, deleted rows too: content that was
replaced or is no longer delivered is still on the disk.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Self

from store.errors import InputError, NotFoundError
from store.tables.lance_tables import Tables
from store.tables.names import is_gallery
from store.tables.purge import is_in, rows_of_all_versions
from store.tables.takedowns import PARTS

_SAMPLE = ("drop", "id", "source", "key", *PARTS)
_BLOCKED = ("image_id", "audio_id")
_GALLERY = ("part_id", "id", "key", "drops", "sample_ids")


@dataclass(frozen=True)
class Selection:
    """What is taken down: everything that matches any of these.

    Attributes:
        ids: of samples.
        parts: ids of parts. Every sample with such a part is taken down.
        keys: of records.
        sources: of records: a shard, or a folder, as the column `source` has it.
        drop: only records of this drop match `keys` and `sources`. None: of every drop.
    """

    ids: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    drop: str | None = None

    def has_record(self, row: Mapping[str, str]) -> bool:
        """Whether a record matches by drop, key and source."""
        return self.drop in (None, row["drop"]) and (
            row["key"] in self.keys or row["source"] in self.sources
        )

    @classmethod
    def read(cls, lines: Iterable[str]) -> Self:
        """Read a list: one `id=`, `part=`, `key=` or `source=` a line. Lines with # are skipped.

        Raises:
            InputError: a line is none of these.
        """
        values: dict[str, set[str]] = {"id": set(), "part": set(), "key": set(), "source": set()}
        for number, line in enumerate(map(str.strip, lines), start=1):
            kind, separator, value = line.partition("=")
            if not line or line.startswith("#"):
                continue
            if not separator or kind not in values or not value:
                raise InputError(
                    f"line {number} of the list is {line[:80]!r}: write id=ID, part=ID, key=KEY or"
                    " source=SOURCE"
                )
            values[kind].add(value)
        ids, parts, keys, sources = map(frozenset, values.values())
        return cls(ids, parts, keys, sources)

    def __or__(self, other: "Selection") -> "Selection":
        """Everything that matches either, in the drop of the first."""
        return Selection(
            self.ids | other.ids,
            self.parts | other.parts,
            self.keys | other.keys,
            self.sources | other.sources,
            self.drop,
        )


@dataclass(frozen=True)
class Selected:
    """What a selection matches in the tables.

    Attributes:
        samples: ids of the samples that go.
        parts: ids of the parts that go: those that are named, and those of `samples` that no other
            current sample has.
        blocked: ids of parts that are rejected in whatever sample they are delivered: those
            that are named, and all images and audio clips of `parts`, but no other text.
        records: (drop, source, key) of all records that had one of `samples`, or match by key or
            source.
        rows: (drop, source, id) of the current rows of `samples` that go.
    """

    samples: frozenset[str]
    parts: frozenset[str]
    blocked: frozenset[str]
    records: frozenset[tuple[str, str, str]]
    rows: tuple[tuple[str, str, str], ...]


def select(tables: Tables, selection: Selection) -> Selected:
    """Find what a selection matches.

    Raises:
        NotFoundError: keys or sources are given, and no record has them.
    """
    named = _sample_rows(tables, selection)
    in_ledger = {_record(row) for row in _ledger_rows(tables, selection)}
    samples = set(selection.ids) | {row["id"] for row in named}
    for row in _gallery_rows(tables, selection):
        samples |= set(row["sample_ids"]) if row["part_id"] in selection.parts else set()
        samples |= {row["id"]} if row["key"] in selection.keys else set()
    if not samples and not in_ledger and (selection.keys or selection.sources):
        raise NotFoundError("no record has one of these keys or sources")
    same_content = _sample_rows(tables, Selection(ids=frozenset(samples)))
    candidates = {row[part]: part for row in same_content for part in PARTS if row[part]}
    for row in _gallery_rows(tables, Selection(ids=frozenset(samples))):
        if samples.issuperset(row["sample_ids"]):
            candidates[row["part_id"]] = f"{row['modality']}_id"
    current, held = _current(tables, samples, candidates.keys())
    parts = selection.parts | (candidates.keys() - held)
    return Selected(
        frozenset(samples),
        parts,
        selection.parts | {part for part in parts if candidates.get(part) in _BLOCKED},
        frozenset(in_ledger | {_record(row) for row in same_content}),
        current,
    )


def _sample_rows(tables: Tables, selection: Selection) -> list[dict[str, str]]:
    """The rows of `samples` that match, of all versions."""
    if not tables.exists("samples"):
        return []
    by_column = {"id": selection.ids, "key": selection.keys, "source": selection.sources}
    by_column |= dict.fromkeys(PARTS, selection.parts)
    return [
        row
        for batch in rows_of_all_versions(tables, "samples", _SAMPLE)
        for row in batch.filter(is_in(batch, by_column)).to_pylist()
        if row["id"] in selection.ids
        or any(row[part] in selection.parts for part in PARTS)
        or selection.has_record(row)
    ]


def _ledger_rows(tables: Tables, selection: Selection) -> list[dict[str, str]]:
    """The rows of the ledger that match by drop, key and source."""
    if not tables.exists("ledger"):
        return []
    by_column = {"key": selection.keys, "source": selection.sources}
    return [
        row
        for batch in rows_of_all_versions(tables, "ledger", ("drop", "source", "key"))
        for row in batch.filter(is_in(batch, by_column)).to_pylist()
        if selection.has_record(row)
    ]


def _gallery_rows(tables: Tables, selection: Selection) -> list[dict[str, Any]]:
    """The rows of galleries that match, of all versions. They have no source."""
    by_column = {"sample_ids": selection.ids, "part_id": selection.parts, "key": selection.keys}
    return [
        row | {"modality": name.rpartition("__")[2]}
        for name in tables.names()
        if is_gallery(name)
        for batch in rows_of_all_versions(tables, name, _GALLERY)
        for row in batch.filter(is_in(batch, by_column)).to_pylist()
        if row["key"] not in selection.keys or selection.drop in (None, *row["drops"])
    ]


def _current(
    tables: Tables, samples: Set[str], candidates: Set[str]
) -> tuple[tuple[tuple[str, str, str], ...], set[str]]:
    """The current rows of `samples` (drop, source, id), and the parts that others still have."""
    rows: list[tuple[str, str, str]] = []
    held: set[str] = set()
    if tables.exists("samples"):
        by_column = {"id": samples, **dict.fromkeys(PARTS, candidates)}
        for batch in tables.open("samples").scanner(columns=list(_SAMPLE)).to_batches():
            for row in batch.filter(is_in(batch, by_column)).to_pylist():
                if row["id"] in samples:
                    rows.append((row["drop"], row["source"], row["id"]))
                else:
                    held |= {row[part] for part in PARTS} & candidates
    return tuple(sorted(rows)), held


def _record(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["drop"], row["source"], row["key"]
