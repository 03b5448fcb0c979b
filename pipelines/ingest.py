"""samples: a drop's records, read, validated, hashed and stored unchanged (Apache Beam).

Two passes. The first does units (a tar shard, some files of a folder): every record is read,
its parts decoded once to prove that they are whole, and stored as delivered. The second groups
what was staged by content: of equal samples in one drop the first by source and key survives.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import keys, media
from pipelines.beam import ReadLance, do_units, gather
from pipelines.progress import watch
from pipelines.sources import Drop, Record, Unit, count_records, list_units, read_unit
from store import identity, schema
from store.config import Beam, Limits
from store.errors import RecordError
from store.stage import Counts, Entry, StageRun, UnitOutcome, begin, publish
from store.tables import quote
from store.workspace import Workspace

STAGE = "samples"

_BATCH_ROWS = 64
_BATCH_BYTES = 32 << 20


def ingest(workspace: Workspace, drop: Drop) -> Counts:
    """Make the `samples` rows of a drop, and its ledger.

    Raises:
        SourceError: the drop cannot be read at all.
        ConservationError: records were lost; nothing was published.
    """
    tables, engine = workspace.tables, workspace.config.engine.beam
    key = keys.samples(workspace, drop)
    with begin(tables, STAGE, key, schema.SAMPLES, drop.name) as run:
        units = list_units(drop)
        resumed = len(run.done())
        with watch(run, len(units)):
            do_units(
                engine, run, units, partial(UnitWork, limits=workspace.config.limits), _unit_name
            )
        repeats = _repeats(engine, run)
        staged = run.counts()
        counts = Counts(
            input=sum(count_records(u) for u in units),
            kept=staged.kept - len(repeats),
            rejected=staged.rejected + len(repeats),
            failed=staged.failed,
        )
        lost = pa.array([_place(e.source, e.key) for e in repeats], pa.string())
        digest = _Digest()

        def survivors(batch: pa.RecordBatch) -> pa.RecordBatch:
            places = pc.binary_join_element_wise(batch["source"], batch["key"], "\n")
            kept = batch.filter(pc.invert(pc.is_in(places, value_set=lost)))
            digest.add(kept)
            return kept

        return publish(
            tables,
            run,
            counts=counts,
            entries=[*run.entries(), *repeats],
            write=lambda: tables.replace(
                STAGE, schema.SAMPLES, run.batches(survivors), f"drop = {quote(drop.name)}"
            ),
            output=lambda: digest.hex,
            resumed=resumed,
        )


class UnitWork:
    """Reads one unit: batches of sample rows, then what became of its records."""

    def __init__(self, unit: Unit, limits: Limits):
        self.unit = unit
        self.limits = limits
        self.kept = 0
        self.entries: list[Entry] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        rows: list[dict] = []
        held = 0
        for record in read_unit(self.unit, self.limits):
            if not isinstance(record, Record):
                self.entries.append(Entry.of(record.source, record.key, record.error))
                continue
            try:
                rows.append({"drop": self.unit.drop, **sample_row(record, self.limits)})
            except RecordError as error:
                self.entries.append(Entry.of(record.source, record.key, error))
                continue
            held += len(record.image or b"") + len(record.audio or b"")
            if len(rows) == _BATCH_ROWS or held > _BATCH_BYTES:
                yield self._batch(rows)
                rows, held = [], 0
        if rows:
            yield self._batch(rows)

    def _batch(self, rows: list[dict]) -> pa.RecordBatch:
        self.kept += len(rows)
        return pa.RecordBatch.from_pylist(rows, schema=schema.SAMPLES)

    def outcome(self) -> UnitOutcome:
        return UnitOutcome(self.kept + len(self.entries), self.kept, self.entries)


def sample_row(record: Record, limits: Limits) -> dict:
    """A record as a row of `samples` (without its drop).

    Raises:
        RecordError: a part is broken, over a limit, or there is none.
    """
    meta, caption = (None, None) if record.meta is None else media.read_meta(record.meta, limits)
    written = None if record.text is None else media.read_text(record.text, limits)
    text = written or caption
    row: dict = {"source": record.source, "key": record.key, "text": text, "meta": meta}
    row["text_id"] = identity.part_id("text", text.encode()) if text else None
    row["image_id"] = row["audio_id"] = None
    if record.image is not None:
        image = media.read_image(record.image, limits)
        row |= {
            "image": record.image,
            "image_id": identity.part_id("image", record.image),
            "image_bytes": len(record.image),
            "image_format": image.format,
            "image_width": image.width,
            "image_height": image.height,
        }
    if record.audio is not None:
        audio = media.read_audio(record.audio, limits)
        row |= {
            "audio": record.audio,
            "audio_id": identity.part_id("audio", record.audio),
            "audio_bytes": len(record.audio),
            "audio_format": audio.format,
            "audio_seconds": audio.seconds,
            "audio_rate": audio.sample_rate,
            "audio_channels": audio.channels,
        }
    parts = (row["image_id"], row["audio_id"], row["text_id"])
    if not any(parts):
        raise RecordError("record.empty", "it holds no image, no audio and no text")
    return row | {"id": identity.sample_id(*parts)}


def _unit_name(unit: Unit) -> str:
    return unit.name


def _place(source: str, key: str) -> str:
    return f"{source}\n{key}"


def _repeats(engine: Beam, run: StageRun) -> list[Entry]:
    """Samples of the drop whose content came before, by source and key."""
    arrow = pa.schema([(n, pa.string()) for n in ("id", "source", "key", "survivor")])

    def losers(group: tuple[str, Iterable[tuple[str, str]]]) -> Iterator[dict]:
        sample, places = group
        first, *others = sorted(places)
        for source, key in others:
            yield {"id": sample, "source": source, "key": key, "survivor": "/".join(first)}

    found = gather(
        engine,
        run.folder / "repeats",
        arrow,
        lambda p: (
            p
            | "Staged" >> ReadLance(run.rows_uri, ["id", "source", "key"])
            | "ById" >> beam.Map(lambda r: (r["id"], (r["source"], r["key"])))
            | "Group" >> beam.GroupByKey()
            | "Losers" >> beam.FlatMap(losers)
        ),
    )
    return [
        Entry(r["source"], r["key"], "duplicate.in_drop", id=r["id"], value=r["survivor"])
        for r in found.to_pylist()
    ]


class _Digest:
    """Of what later stages read of a drop, whatever the order of its rows."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, batch: pa.RecordBatch) -> None:
        columns = [batch[c].to_pylist() for c in ("id", "source", "key", "meta")]
        self.total += identity.unordered(repr(row) for row in zip(*columns, strict=True))

    @property
    def hex(self) -> str:
        return f"{self.total % (1 << 128):032x}"
