"""Writes the kept samples of a corpus into a folder, shard by shard, on Beam or on Ray tasks.

A shard is a unit of work as in any stage. Workers read it from the tables and write it; nothing
passes through the driver. The list of finished shards is a staging table in the folder itself. A
shard is written to a temporary file, its samples are counted as a reader would count them, and
then it gets its final name. So a run that was killed continues after its last finished shard, and
a file under its final name is complete.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.engine.progress import show_progress
from pipelines.engine.units import run_units
from pipelines.export import lance_dataset, parquet, registry, webdataset
from pipelines.export import target_folder as target
from pipelines.export.formats import FORMATS
from pipelines.export.shard_lists import write_shard_lists
from pipelines.export.shard_rows import ShardJob
from store import identity
from store.errors import ConservationError, InputError, NotFoundError
from store.search.subset import ExportResult
from store.tables import releases, schema
from store.tables.files import Files
from store.tables.lance_tables import Tables, one_of
from store.tables.names import kind_of, pairs_table
from store.tables.staging import UnitOutcome, begin, stage_record
from store.tables.table_version import TableVersion
from store.workspace import Workspace

VERSION = 1  # of the format: raise it where the same samples give different files
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
    """What is exported, and how.

    Attributes:
        to: the format: webdataset, parquet or lance.
        signals: whether all signals are exported too.
        mask: whether URLs, e-mail addresses and telephone numbers in captions are masked.
        shard_samples: the largest number of samples in a shard.
        shard_bytes: the largest size of a shard in bytes.

    Raises:
        InputError: the format is unknown.
    """

    to: str
    signals: bool = False
    mask: bool = False
    shard_samples: int = 10_000
    shard_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if self.to not in FORMATS:
            raise InputError(f"unknown format {self.to!r}; choose one of {', '.join(FORMATS)}")


def export(
    workspace: Workspace,
    folder: str | Path,
    options: Options,
    overwrite: bool = False,
    ids: Sequence[str] | None = None,
) -> ExportResult:
    """Write the kept samples of all drops to `folder`, and then `isotrope.json`, a summary.

    A complete export with the same decisions and options is left as it is. An interrupted one is
    continued.

    Args:
        workspace: the corpus.
        folder: the target: a local folder, or an address as in `tables:` of corpus.yaml, with the
            options of the tables if these are in a store of the same kind.
        options: what is exported, and how.
        overwrite: remove another export that is in the folder.
        ids: write only these samples.

    Raises:
        NotFoundError: there are no decisions yet, or they do not keep one of `ids`.
        InputError: the folder holds another export or other files, or is inside a source.
        ConservationError: a shard, or all of them, do not hold what the decisions keep.
        BusyError: another process is writing to the folder.
    """
    about = _about(workspace, options)
    if ids is not None:
        about["subset"] = identity.run_key(*sorted(ids))
    key = identity.run_key("export", VERSION, asdict(options), about)
    tables = workspace.tables
    files = registry.open_folder(tables, str(folder))
    is_complete = target.prepare(workspace, files, key, overwrite)
    registry.register(tables, files.root)
    if is_complete:
        return _result(files)
    state = Tables(f"{files.root}/{target.STATE}", files.options)
    with begin(state, "export", key, _SHARDS) as run:
        versions = _versions(workspace, options)
        exported = "keep" if ids is None else f"keep AND {one_of('id', ids)}"
        sizes = write_shard_lists(
            tables,
            versions,
            files,
            run.scratch,
            workspace.config.engine,
            exported,
            max_samples=options.shard_samples,
            max_bytes=options.shard_bytes,
        )
        if ids is None:
            kept = (stage_record(tables, "decisions") or {})["kept"]
        else:
            kept = _count_kept(tables, versions["decisions"], exported, ids)
        _check_count(sum(sizes), kept, "the lists of the shards")
        inputs = {kind_of(n): TableVersion(tables, n, v) for n, v in versions.items()}
        job = ShardJob(files, run.scratch, inputs, options.mask, about)
        with show_progress(run, len(sizes), "shards"):
            engine = workspace.config.engine
            run_units(engine, run, range(len(sizes)), partial(write_shard, job, options.to))
        shards = sorted(run.staged().to_pylist(), key=lambda s: s["name"])
        _check_count(sum(s["samples"] for s in shards), kept, "the shards")
        if options.to == "lance":
            fragments = [f for shard in shards for f in shard["fragments"]]
            _check_count(lance_dataset.commit(job, fragments), kept, lance_dataset.NAME)
        summary = {
            **_corpus_facts(workspace, exported),
            **about,
            "format": options.to,
            "samples": kept,
            "shards": [{n: s[n] for n in ("name", "samples", "bytes")} for s in shards],
            "key": key,
        }
        target.write_summary(files, summary)
    target.remove_state(files)
    return _result(files)


@dataclass(frozen=True)
class Shard:
    """A complete shard: one row of the staging table."""

    name: str
    samples: int
    bytes: int
    fragments: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([asdict(self)], schema=_SHARDS)

    def outcome(self) -> UnitOutcome:
        return UnitOutcome(self.samples, self.samples)


def write_shard(job: ShardJob, to: str, number: int) -> Shard:
    """Write a shard, count its samples, and give it its final name.

    Raises:
        ConservationError: it does not hold as many samples as its list.
    """
    expected = job.shard_list(number).num_rows
    if to == "lance":
        name, fragments = f"fragment {number:06d}", lance_dataset.write(job, number)
        count, size = lance_dataset.measure(fragments)
        _check_count(count, expected, name)
        return Shard(name, count, size, tuple(fragments))
    format = _FILES[to]
    name = format.NAME.format(number)
    with job.target.writing(name, job.scratch) as path:
        format.write(job, number, path)
        _check_count(format.count(path), expected, name)
        size = path.stat().st_size
    return Shard(name, expected, size)


def _check_count(count: int, expected: int, what: str) -> None:
    if count != expected:
        raise ConservationError(
            f"{what}: {count} samples were written, but {expected} are expected; the export is"
            " incomplete: run it again"
        )


def _versions(workspace: Workspace, options: Options) -> dict[str, int]:
    """The tables that are read, with their current versions."""
    tables = workspace.tables
    names = ["samples", "decisions"]
    if options.signals:
        names += ["signals", *_pairs_tables(workspace)]
    return {name: tables.version(name) for name in names}


def _pairs_tables(workspace: Workspace) -> list[str]:
    """The table of pair signals, if there is one."""
    name = pairs_table(workspace.config.space)
    is_recorded = stage_record(workspace.tables, "pairs") is not None
    return [name] if is_recorded and workspace.tables.exists(name) else []


def _about(workspace: Workspace, options: Options) -> dict[str, str]:
    """What is exported and by which decisions. While it is unchanged, the exported files are too.

    Raises:
        NotFoundError: there are no decisions yet.
    """
    tables = workspace.tables
    decisions = stage_record(tables, "decisions")
    if decisions is None:
        raise NotFoundError("there are no decisions yet; `isotrope run` makes them")
    row = tables.open("decisions").to_table(columns=["policy"], limit=1)["policy"].to_pylist()
    about = {"corpus": workspace.root.name, "decisions": decisions["output"]}
    about |= {"policy": row[0] if row else "", "masked": json.dumps(options.mask)}
    if options.signals:
        stages = tables.scan("stages", schema.STAGES, ["drop", "output"], "stage = 'signals'")
        pairs = _pairs_tables(workspace) and stage_record(tables, "pairs")
        about["signals"] = identity.run_key(sorted(map(str, stages.to_pylist())))
        about |= {"space": workspace.config.space, "pairs": pairs["output"]} if pairs else {}
    return about


def _count_kept(tables: Tables, version: int, condition: str, ids: Sequence[str]) -> int:
    """How many samples decisions keep of those with `ids`. Raises NotFoundError if one is not."""
    kept = tables.open("decisions", version).to_table(columns=["id"], filter=condition)["id"]
    if missing := set(ids).difference(kept.to_pylist()):
        raise NotFoundError(
            f"the present decisions do not keep {len(missing):,} of the samples, such as"
            f" {min(missing)}; `isotrope run` makes a release of the present decisions"
        )
    return len(kept)


def _corpus_facts(workspace: Workspace, exported: str) -> dict[str, Any]:
    """Facts for the summary on which the exported files do not depend."""
    tables = workspace.tables
    drops: Counter[str] = Counter()
    for batch in tables.open("decisions").to_batches(columns=["drop"], filter=exported):
        drops.update(batch["drop"].to_pylist())
    space = workspace.config.space
    numbers = [r.number for r in releases.list_releases(tables) if r.space == space]
    return {
        "space": space,
        "release": numbers[-1] if numbers else None,
        "drops": dict(sorted(drops.items())),
    }


def _result(files: Files) -> ExportResult:
    summary = target.read_summary(files) or {}
    sizes = [shard["bytes"] for shard in summary["shards"]]
    return ExportResult(files.root, summary["samples"], len(sizes), sum(sizes))
