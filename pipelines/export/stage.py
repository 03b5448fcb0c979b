"""Writes the kept samples of a corpus into a folder: shard by shard, on Beam or on Ray's tasks.

A shard is a unit as those of any stage are: workers read it from the tables and write it, nothing
passes through the driver, and the list of finished ones is a staging in the folder itself. A shard
is written under another name, counted as its readers would count it, and then renamed. So a run
that was killed goes on after its last whole shard, and what is there under its name is whole.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.engine.progress import watch
from pipelines.engine.units import run_units
from pipelines.export import lance_dataset, parquet, webdataset
from pipelines.export import target_folder as target
from pipelines.export.shard_lists import lay_out
from pipelines.export.shard_rows import Job
from store import identity
from store.errors import ConservationError, InputError, NotFoundError
from store.tables import releases, schema
from store.tables.lance_tables import Tables
from store.tables.names import pairs_table
from store.tables.staging import UnitOutcome, begin, record
from store.workspace import Workspace

VERSION = 1  # of what is written: raise it where the same samples would give other files
FORMATS = ("webdataset", "parquet", "lance")
_FILES = {"webdataset": webdataset, "parquet": parquet}
_SHARDS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("fragments", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Options:
    """What is written, and how.

    Args:
        to: webdataset, parquet or lance.
        signals: whether with all that was measured.
        mask: whether with URLs, e-mail addresses and telephone numbers in captions masked.
        shard_samples, shard_bytes: what a shard holds at most.

    Raises InputError for another format.
    """

    to: str
    signals: bool = False
    mask: bool = False
    shard_samples: int = 10_000
    shard_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if self.to not in FORMATS:
            raise InputError(f"{self.to!r} is no format; there are {', '.join(FORMATS)}")


@dataclass(frozen=True)
class Exported:
    """What is in the folder now."""

    folder: Path
    samples: int
    shards: int
    bytes: int


def export(
    workspace: Workspace, folder: Path, options: Options, overwrite: bool = False
) -> Exported:
    """Write the kept samples of all drops to `folder`, and `isotrope.json`, which tells what they
    are, when all of them are there. An export that is there already is left as it is.

    Args:
        overwrite: remove another export that is in the folder.

    Raises:
        NotFoundError: there are no decisions yet.
        InputError: the folder holds another export or anything else, or is part of a source.
        ConservationError: a shard, or all of them, do not hold what the decisions keep.
        BusyError: another process is writing to the folder.
    """
    about = _about(workspace, options)
    key = identity.run_key("export", VERSION, asdict(options), about)
    if target.ready(workspace, folder, key, overwrite):
        return _done(folder)
    state = Tables(folder / target.STATE)
    with begin(state, "export", key, _SHARDS) as run:
        lists = run.folder / "lists"
        versions = _versions(workspace, options)
        tables = workspace.tables
        sizes = lay_out(
            tables,
            versions,
            lists,
            most_samples=options.shard_samples,
            most_bytes=options.shard_bytes,
        )
        kept = (record(tables, "decisions") or {})["kept"]
        _expect(sum(sizes), kept, "the shards' lists")
        places = {n.partition("__")[0]: (tables.uri(n), v) for n, v in versions.items()}
        job = Job(str(folder), str(lists), places, options.mask, about)
        with watch(run, len(sizes), "shards"):
            engine = workspace.config.engine
            run_units(engine, run, range(len(sizes)), partial(write_shard, job, options.to))
        shards = sorted(run.staged().to_pylist(), key=lambda s: s["name"])
        _expect(sum(s["samples"] for s in shards), kept, "the shards")
        if options.to == "lance":
            fragments = [f for shard in shards for f in shard["fragments"]]
            _expect(lance_dataset.commit(job, fragments), kept, lance_dataset.NAME)
        told = {**_told(workspace), **about, "format": options.to, "samples": kept}
        listed = [{n: s[n] for n in ("name", "samples", "bytes")} for s in shards]
        target.finish(folder, {**told, "shards": listed, "key": key})
    target.clear(folder)
    return _done(folder)


@dataclass(frozen=True)
class Shard:
    """A shard that is whole: one row about it."""

    name: str
    samples: int
    bytes: int
    fragments: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([asdict(self)], schema=_SHARDS)

    def outcome(self) -> UnitOutcome:
        return UnitOutcome(self.samples, self.samples)


def write_shard(job: Job, to: str, number: int) -> Shard:
    """Write a shard, under its name when it is whole. Raises ConservationError where it is not."""
    wanted = job.listed(number).num_rows
    if to == "lance":
        name, fragments = f"fragment {number:06d}", lance_dataset.write(job, number)
        found, size = lance_dataset.measure(fragments)
        _expect(found, wanted, name)
        return Shard(name, found, size, tuple(fragments))
    kind = _FILES[to]
    path = Path(job.folder, kind.NAME.format(number))
    part = Path(job.folder, target.STATE, f"{path.name}.part")
    kind.write(job, number, part)
    _expect(kind.count(part), wanted, path.name)
    size = target.sync(part)
    path.parent.mkdir(exist_ok=True)
    os.replace(part, path)
    return Shard(kind.NAME.format(number), wanted, size)


def _expect(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise ConservationError(
            f"{what}: {found} samples are there, but {wanted} should be; the export is not"
            " finished: run it again"
        )


def _versions(workspace: Workspace, options: Options) -> dict[str, int]:
    """The tables that are read, at the versions of now."""
    tables = workspace.tables
    names = ["samples", "decisions"]
    if options.signals:
        names += ["signals", *_pairs(workspace)]
    return {name: tables.version(name) for name in names}


def _pairs(workspace: Workspace) -> list[str]:
    """The signals of pairs, where there are any."""
    name = pairs_table(workspace.config.space)
    made = record(workspace.tables, "pairs") is not None
    return [name] if made and workspace.tables.exists(name) else []


def _about(workspace: Workspace, options: Options) -> dict[str, str]:
    """What the samples are, and by which decisions; with it unchanged, so is what is written."""
    tables = workspace.tables
    decided = record(tables, "decisions")
    if decided is None:
        raise NotFoundError("there are no decisions yet; `isotrope run` makes them")
    row = tables.open("decisions").to_table(columns=["policy"], limit=1)["policy"].to_pylist()
    about = {"corpus": workspace.root.name, "decisions": decided["output"]}
    about |= {"policy": row[0] if row else "", "masked": json.dumps(options.mask)}
    if options.signals:
        stages = tables.scan("stages", schema.STAGES, ["drop", "output"], "stage = 'signals'")
        pairs = _pairs(workspace) and record(tables, "pairs")
        about["signals"] = identity.run_key(sorted(map(str, stages.to_pylist())))
        about |= {"space": workspace.config.space, "pairs": pairs["output"]} if pairs else {}
    return about


def _told(workspace: Workspace) -> dict[str, Any]:
    """What else is told of the corpus: it changes nothing of what is written."""
    tables = workspace.tables
    drops: Counter[str] = Counter()
    for batch in tables.open("decisions").to_batches(columns=["drop"], filter="keep"):
        drops.update(batch["drop"].to_pylist())
    mine = [r.number for r in releases.listed(tables) if r.space == workspace.config.space]
    release = mine[-1] if mine else None
    return {
        "space": workspace.config.space,
        "release": release,
        "drops": dict(sorted(drops.items())),
    }


def _done(folder: Path) -> Exported:
    told = target.finished(folder) or {}
    sizes = [shard["bytes"] for shard in told["shards"]]
    return Exported(folder, told["samples"], len(sizes), sum(sizes))
