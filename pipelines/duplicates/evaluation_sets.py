"""Read an evaluation set as what samples are compared with: hashes, fingerprints, word n-grams."""

from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.duplicates.texts.shingles import normalise_texts
from pipelines.sources.evaluation_files import evaluation_drop, evaluation_path
from pipelines.sources.read import read_unit
from pipelines.sources.records import BadRecord, Record
from pipelines.sources.units import list_units
from store.config.duplicates import Evaluation
from store.config.limits import Limits
from store.errors import RecordError
from store.tables import schema
from store.tables.staging import Entry
from store.workspace import Workspace

QUALITY = 50  # PDQ quality of an image; its authors do not trust the hash below it
MOST_WORDS, LEAST_WORDS = 13, 8  # of an n-gram
_BATCH = 256
_COLUMNS = ("image_id", "image", "audio_id", "audio", "text", "key")


@dataclass
class EvaluationSet:
    """The comparable parts of an evaluation's samples.

    Attributes:
        images: (key, hashes, thumbnail), the signals `image_copies` and `image_look`.
        fingerprints: (key, fingerprint), the signal `audio_fingerprint`.
        ngrams: word n-grams of texts, and the key of the first sample that has each.
        entries: for the ledger, of records that could not be read.
    """

    images: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    fingerprints: list[tuple[str, bytes]] = field(default_factory=list)
    ngrams: dict[str, str] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def add_text(self, key: str, normalised: str) -> None:
        """Add all runs of 13 words, or all words of a text with 8 to 12."""
        words = normalised.split()
        size = min(MOST_WORDS, len(words))
        for start in range(len(words) - size + 1 if size >= LEAST_WORDS else 0):
            self.ngrams.setdefault(" ".join(words[start : start + size]), key)


def read_evaluation_set(workspace: Workspace, evaluation: Evaluation) -> EvaluationSet:
    """Read the files of an evaluation, which are like a source's, or a .txt with a text a line.

    Raises:
        SourceError: there is nothing at its path.
    """
    result, limits = EvaluationSet(), workspace.config.limits
    path = evaluation_path(workspace, evaluation)
    if path.suffix.lower() == ".txt":
        lines = path.read_text("utf-8", "replace").splitlines()
        for number, text in enumerate(normalise_texts(lines), start=1):
            result.add_text(f"{path.name}:{number}", text)
        return result
    rows: list[dict] = []
    for unit in list_units(evaluation_drop(workspace, evaluation)):
        for record in read_unit(unit, limits):
            try:
                rows.append(_row(record, limits))
            except RecordError as error:
                source = f"decontaminate/{evaluation.name}/{record.source}"
                rule, message = f"decontamination.{error.rule}", str(error)
                result.entries.append(Entry(source, record.key, rule, "unmeasured", error=message))
            if len(rows) == _BATCH:
                _add_rows(rows, result)
                rows = []
    _add_rows(rows, result)
    return result


def _row(record: Record | BadRecord, limits: Limits) -> dict:
    from pipelines.samples.sample_row import sample_row

    if isinstance(record, BadRecord):
        raise record.error
    return sample_row(record, limits)


def _add_rows(rows: list[dict], result: EvaluationSet) -> None:
    """Measure samples as the stage `signals` does, and add their parts."""
    from pipelines.signals.scorers.audio_fingerprint import FINGERPRINT
    from pipelines.signals.scorers.image_copies import COPIES
    from pipelines.signals.scorers.image_hash import HASH
    from pipelines.signals.scoring import score

    columns = {
        c: pa.array([r.get(c) for r in rows], schema.SAMPLES.field(c).type) for c in _COLUMNS
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    scored = score(batch, [HASH, COPIES, FINGERPRINT]).columns
    names = ("image_pdq_quality", *COPIES.gives, *FINGERPRINT.gives)
    signals = zip(*(scored[name].to_pylist() for name in names), strict=True)
    for row, (quality, hashes, thumbnail, fingerprint) in zip(rows, signals, strict=True):
        key = row["key"]
        if hashes is not None and quality is not None and quality >= QUALITY:
            result.images.append((key, hashes, thumbnail))
        if fingerprint is not None:
            result.fingerprints.append((key, fingerprint))
    texts = normalise_texts([row["text"] or "" for row in rows])
    for row, text in zip(rows, texts, strict=True):
        result.add_text(row["key"], text)
