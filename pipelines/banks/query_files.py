"""Read a file of queries for the query bank: the file that `corrections.queries` names.

    .txt       one text a line
    .jsonl     one {"text": ...}, {"image": path} or {"audio": path} a line; relative paths start
               at the file's folder
    .parquet   vectors, in the query log's columns: space, fingerprint, modality, vector
    .npy       vectors (n, d); a .json beside it names their space, fingerprint and modality

A query gets the id that the same content has in the corpus.
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
# Caption files often end in a line end, which is part of the caption's identity in the corpus.
_LINE_ENDS = ("\n", "\r\n")


@dataclass(frozen=True)
class BankQuery:
    """One query.

    Attributes:
        key: names the query in the ledger.
        modality: image, text or audio.
        part_id: the hash of its content.
        raw: what is encoded, a text or the path of a file; None for a query with a vector.
        vector: its unit vector (d,); None for a query that has yet to be encoded.
        aliases: further ids that the same content may have in the corpus.
    """

    key: str
    modality: str
    part_id: str
    raw: str | Path | None = None
    vector: np.ndarray | None = None
    aliases: tuple[str, ...] = ()


@dataclass
class OriginQueries:
    """The queries of one origin: input = len(queries) + rejected + failed.

    Attributes:
        origin: its name, such as "file:queries.txt" or "log".
        input: the number of queries that it has.
        queries: those that may be used.
        entries: for the ledger; one entry may be about many queries.
        rejected: the number of queries that were rejected.
        failed: the number of queries that could not be read.
    """

    origin: str
    input: int = 0
    queries: list[BankQuery] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    rejected: int = 0
    failed: int = 0

    def exclude(self, entry: Entry, count: int = 1) -> None:
        """Count queries as rejected or failed, as the entry's outcome says, and keep the entry."""
        self.entries.append(entry)
        if entry.outcome == "failed":
            self.failed += count
        else:
            self.rejected += count


def read_queries(path: Path, space: Space, limits: Limits, dim: int) -> OriginQueries:
    """Read every query of a file; those that cannot be used become entries for the ledger.

    Args:
        path: the file.
        space: the space of the corpus.
        limits: of the size of texts, images and recordings.
        dim: of the space's vectors.

    Raises:
        ConfigError: the suffix is none of `SUFFIXES`.
        InputError: the file does not have the format of its suffix, or vectors of another width.
        EncoderError: its vectors were made in another space, or by another encoder.
    """
    result = OriginQueries(f"file:{path.name}")
    if path.suffix in (".txt", ".jsonl"):
        _add_lines(result, path, space, limits)
    elif path.suffix == ".parquet":
        _add_vectors(result, path, _read_parquet(path), space, dim)
    elif path.suffix == ".npy":
        _add_vectors(result, path, _read_npy(path), space, dim)
    else:
        allowed = ", ".join(SUFFIXES)
        raise ConfigError(f"corrections.queries: the suffix of {path.name} is none of {allowed}")
    return result


def vector_query(key: str, modality: str, vector: np.ndarray) -> BankQuery:
    """A query with nothing but its unit vector (d,) float32, which identifies it."""
    return BankQuery(
        key, modality, identity.part_id(f"{modality}-vector", vector.tobytes()), vector=vector
    )


def _add_lines(result: OriginQueries, path: Path, space: Space, limits: Limits) -> None:
    lines = path.read_bytes().split(b"\n")
    if not lines[-1]:
        lines.pop()
    result.input = len(lines)
    for number, line in enumerate(lines, 1):
        key = f"{path.name}:{number}"
        try:
            if path.suffix == ".txt":
                query = _text_query(key, line.removesuffix(b"\r"), limits)
            else:
                query = _json_query(key, line, path.parent, limits)
            if query.modality not in space.towers:
                towers = ", ".join(sorted(space.towers))
                raise RecordError(
                    "query.modality", f"space {space.name!r} has no {query.modality}, only {towers}"
                )
        except RecordError as error:
            result.exclude(Entry.of(result.origin, key, error))
        else:
            result.queries.append(query)


def _text_query(key: str, data: bytes, limits: Limits) -> BankQuery:
    text = read_text(data, limits)
    if text is None:
        raise RecordError("text.empty", "only white space")
    part_id, *aliases = (
        identity.part_id("text", f"{text}{end}".encode()) for end in ("", *_LINE_ENDS)
    )
    return BankQuery(key, "text", part_id, text, aliases=tuple(aliases))


def _json_query(key: str, line: bytes, folder: Path, limits: Limits) -> BankQuery:
    allowed = '{"text": ...}, {"image": path} or {"audio": path} is expected'
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError("query.json", f"{str(error)[:200]}; {allowed}") from error
    roles = [m for m in _ROLES if m in record] if isinstance(record, dict) else []
    if len(roles) != 1 or not isinstance(record[roles[0]], str):
        raise RecordError("query.json", allowed)
    modality, value = roles[0], record[roles[0]]
    if modality == "text":
        try:
            return _text_query(key, value.encode(), limits)
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
    """Vectors of one space, encoder and modality.

    Attributes:
        numbers: (n,) their row numbers in the file, from 0.
        rows: (n, d) float32, of any length.
    """

    space: str
    fingerprint: str
    modality: str
    numbers: Iterable[int]
    rows: np.ndarray


def _read_parquet(path: Path) -> Iterator[_Vectors]:
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


def _read_npy(path: Path) -> Iterator[_Vectors]:
    sidecar = path.with_suffix(".json")
    try:
        record = json.loads(sidecar.read_bytes())
        space, fingerprint, modality = (
            str(record[n]) for n in ("space", "fingerprint", "modality")
        )
        rows = np.asarray(np.load(path), np.float32)
        if rows.ndim != 2:
            raise ValueError(f"the array has the shape {rows.shape}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path.name}: vectors (n, d) are expected, and beside them {sidecar.name} with"
            f' {{"space": ..., "fingerprint": ..., "modality": ...}}: {error}'
        ) from error
    yield _Vectors(space, fingerprint, modality, range(len(rows)), rows)


def _add_vectors(
    result: OriginQueries, path: Path, kinds: Iterable[_Vectors], space: Space, dim: int
) -> None:
    for kind in kinds:
        if kind.modality not in space.towers:
            towers = ", ".join(sorted(space.towers))
            raise InputError(
                f"{path.name}: space {space.name!r} has no modality {kind.modality!r},"
                f" only {towers}"
            )
        fingerprint = space.query_fingerprint(kind.modality)
        if (kind.space, kind.fingerprint) != (space.name, fingerprint):
            raise EncoderError(
                f"{path.name}: its {kind.modality} vectors were made in space {kind.space!r} by"
                f" {kind.fingerprint}; this corpus needs those of space {space.name!r} by"
                f" {fingerprint}"
            )
        if kind.rows.shape[1] != dim:
            raise InputError(
                f"{path.name}: vectors have {kind.rows.shape[1]} dimensions, the space has {dim}"
            )
        result.input += len(kind.rows)
        lengths = np.linalg.norm(kind.rows, axis=1)
        for number, row, length in zip(kind.numbers, kind.rows, lengths, strict=True):
            key = f"{path.name}:{number + 1}"
            if np.isfinite(length) and length > 0:
                result.queries.append(vector_query(key, kind.modality, row / length))
            else:
                error = RecordError("vector.broken", f"a vector of length {length:g}")
                result.exclude(Entry.of(result.origin, key, error))
