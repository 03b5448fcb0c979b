"""A file of queries, corpus.yaml's `corrections.queries`, read for the query bank.

    .txt       one text a line
    .jsonl     one {"text": ...}, {"image": path} or {"audio": path} a line; relative paths start
               at the file's folder
    .parquet   vectors, in the query log's columns: space, fingerprint, modality, vector
    .npy       vectors (n, d); a .json beside it names their space, fingerprint and modality

A query of one's own has the id that the same content has in the corpus.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedders.media.text import read_text
from embedders.spaces import Space
from store import identity
from store.config.limits import Limits, Role
from store.errors import ConfigError, EncoderError, InputError, RecordError
from store.tables.staging import Entry

SUFFIXES = (".txt", ".jsonl", ".parquet", ".npy")
_ROLES: tuple[Role, ...] = ("image", "text", "audio")
_LINE_ENDS = ("\n", "\r\n")  # a caption's file often ends in one, and it is part of its identity


@dataclass(frozen=True)
class BankQuery:
    """One query: what is to be encoded (`raw`: a text or a file), or its unit vector (d,).

    `alike` are further ids under which the corpus may know it.
    """

    key: str
    modality: str
    part_id: str
    raw: str | Path | None = None
    vector: np.ndarray | None = None
    alike: tuple[str, ...] = ()


@dataclass
class Queries:
    """Queries of one origin: input = those that are asked, or were rejected, or failed.

    An entry for the ledger may stand for many queries.
    """

    origin: str
    input: int = 0
    asked: list[BankQuery] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    rejected: int = 0
    failed: int = 0

    def lose(self, entry: Entry, count: int = 1) -> None:
        """Count queries out that were not, or are no longer, among `asked`."""
        self.entries.append(entry)
        if entry.outcome == "failed":
            self.failed += count
        else:
            self.rejected += count


def read_queries(path: Path, space: Space, limits: Limits, dim: int) -> Queries:
    """Every query of a file; those that cannot be used become entries for the ledger.

    Raises:
        ConfigError: the file is of no known kind.
        InputError: it is not what its kind says, or its vectors are not of width `dim`.
        EncoderError: its vectors were made in another space, or by another model.
    """
    found = Queries(f"file:{path.name}")
    if path.suffix in (".txt", ".jsonl"):
        _read_lines(found, path, space, limits)
    elif path.suffix == ".parquet":
        _add_vectors(found, path, _parquet(path), space, dim)
    elif path.suffix == ".npy":
        _add_vectors(found, path, _npy(path), space, dim)
    else:
        allowed = ", ".join(SUFFIXES)
        raise ConfigError(f"corrections.queries: {path.name} is none of {allowed}")
    return found


def vector_query(key: str, modality: str, vector: np.ndarray) -> BankQuery:
    """A query of which there is only a unit vector (d,) float32: that is its identity."""
    return BankQuery(
        key, modality, identity.part_id(f"{modality}-vector", vector.tobytes()), vector=vector
    )


def _read_lines(found: Queries, path: Path, space: Space, limits: Limits) -> None:
    lines = path.read_bytes().split(b"\n")
    if not lines[-1]:
        lines.pop()
    found.input = len(lines)
    for number, line in enumerate(lines, 1):
        key = f"{path.name}:{number}"
        try:
            if path.suffix == ".txt":
                query = _text(key, line.removesuffix(b"\r"), limits)
            else:
                query = _json(key, line, path.parent, limits)
            if query.modality not in space.towers:
                has = ", ".join(sorted(space.towers))
                raise RecordError(
                    "query.modality", f"space {space.name!r} has no {query.modality}, only {has}"
                )
        except RecordError as error:
            found.lose(Entry.of(found.origin, key, error))
        else:
            found.asked.append(query)


def _text(key: str, data: bytes, limits: Limits) -> BankQuery:
    text = read_text(data, limits)
    if text is None:
        raise RecordError("text.empty", "nothing but white space")
    own, *alike = (identity.part_id("text", f"{text}{end}".encode()) for end in ("", *_LINE_ENDS))
    return BankQuery(key, "text", own, text, alike=tuple(alike))


def _json(key: str, line: bytes, folder: Path, limits: Limits) -> BankQuery:
    allowed = '{"text": ...}, {"image": path} or {"audio": path} is expected'
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError("query.json", f"{str(error)[:200]}; {allowed}") from error
    named = [m for m in _ROLES if m in record] if isinstance(record, dict) else []
    if len(named) != 1 or not isinstance(record[named[0]], str):
        raise RecordError("query.json", allowed)
    modality, value = named[0], record[named[0]]
    if modality == "text":
        try:
            return _text(key, value.encode(), limits)
        except UnicodeEncodeError as error:
            raise RecordError("text.encoding", str(error)) from error
    path = folder / value
    try:
        limits.check(modality, path.stat().st_size)
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{modality}.missing", f"{value}: {error.strerror}") from error
    return BankQuery(key, modality, identity.part_id(modality, content), path)


@dataclass(frozen=True)
class _Vectors:
    """Rows (n, d) float32 of one kind, and their numbers in the file."""

    space: str
    fingerprint: str
    modality: str
    numbers: Iterable[int]
    rows: np.ndarray


def _parquet(path: Path) -> Iterator[_Vectors]:
    names = ["space", "fingerprint", "modality"]
    try:
        table = pq.read_table(path, columns=[*names, "vector"])
        kinds = table.select(names).append_column("number", pa.array(range(table.num_rows)))
        for kind in kinds.group_by(names).aggregate([("number", "list")]).to_pylist():
            numbers = kind["number_list"]
            flat = table["vector"].take(pa.array(numbers)).combine_chunks().flatten()
            rows = flat.to_numpy(zero_copy_only=False).reshape(len(numbers), -1)
            yield _Vectors(
                kind["space"],
                kind["fingerprint"],
                kind["modality"],
                numbers,
                np.asarray(rows, np.float32),
            )
    except (pa.ArrowException, KeyError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path.name}: columns space, fingerprint, modality and vector (a list of equal length"
            f" for each row) are expected: {error}"
        ) from error


def _npy(path: Path) -> Iterator[_Vectors]:
    beside = path.with_suffix(".json")
    try:
        named = json.loads(beside.read_bytes())
        space, fingerprint, modality = (str(named[n]) for n in ("space", "fingerprint", "modality"))
        rows = np.asarray(np.load(path), np.float32)
        if rows.ndim != 2:
            raise ValueError(f"the array has the shape {rows.shape}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path.name}: vectors (n, d) are expected, and beside them {beside.name} with"
            f' {{"space": ..., "fingerprint": ..., "modality": ...}}: {error}'
        ) from error
    yield _Vectors(space, fingerprint, modality, range(len(rows)), rows)


def _add_vectors(
    found: Queries, path: Path, kinds: Iterable[_Vectors], space: Space, dim: int
) -> None:
    for kind in kinds:
        if kind.modality not in space.towers:
            has = ", ".join(sorted(space.towers))
            raise InputError(
                f"{path.name}: {kind.modality!r} is no modality of space {space.name!r}: {has}"
            )
        made, expected = (
            (kind.space, kind.fingerprint),
            (space.name, space.fingerprint(kind.modality)),
        )
        if made != expected:
            raise EncoderError(
                f"{path.name}: its {kind.modality} vectors were made in space {made[0]!r} by"
                f" {made[1]}; this corpus needs those of space {expected[0]!r} by {expected[1]}"
            )
        if kind.rows.shape[1] != dim:
            raise InputError(
                f"{path.name}: vectors have {kind.rows.shape[1]} dimensions, the space has {dim}"
            )
        found.input += len(kind.rows)
        lengths = np.linalg.norm(kind.rows, axis=1)
        for number, row, length in zip(kind.numbers, kind.rows, lengths, strict=True):
            key = f"{path.name}:{number + 1}"
            if np.isfinite(length) and length > 0:
                found.asked.append(vector_query(key, kind.modality, row / length))
            else:
                error = RecordError("vector.broken", f"a vector of length {length:g}")
                found.lose(Entry.of(found.origin, key, error))
