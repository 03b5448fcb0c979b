"""The samples of an evaluation, and what they are known by: hashes, fingerprints, word n-grams."""

from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.duplicates.texts.shingles import fold
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

QUALITY = 50  # of PDQ, below which its authors do not trust it
MOST_WORDS, LEAST_WORDS = 13, 8
_BATCH = 256
_COLUMNS = ("image_id", "image", "audio_id", "audio", "text", "key")


@dataclass
class Listed:
    """What an evaluation's samples are known by: keys with hashes and looks of pictures, with
    fingerprints, and with n-grams."""

    pictures: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    prints: list[tuple[str, bytes]] = field(default_factory=list)
    grams: dict[str, str] = field(default_factory=dict)
    bad: list[Entry] = field(default_factory=list)

    def add_text(self, key: str, folded: str) -> None:
        words = folded.split()
        size = min(MOST_WORDS, len(words))
        for start in range(len(words) - size + 1 if size >= LEAST_WORDS else 0):
            self.grams.setdefault(" ".join(words[start : start + size]), key)


def read(workspace: Workspace, evaluation: Evaluation) -> Listed:
    listed, limits = Listed(), workspace.config.limits
    path = evaluation_path(workspace, evaluation)
    if path.suffix.lower() == ".txt":
        lines = path.read_text("utf-8", "replace").splitlines()
        for number, folded in enumerate(fold(lines), start=1):
            listed.add_text(f"{path.name}:{number}", folded)
        return listed
    rows: list[dict] = []
    for unit in list_units(evaluation_drop(workspace, evaluation)):
        for record in read_unit(unit, limits):
            try:
                rows.append(_row(record, limits))
            except RecordError as error:
                at = f"decontaminate/{evaluation.name}/{record.source}"
                rule, said = f"decontamination.{error.rule}", str(error)
                listed.bad.append(Entry(at, record.key, rule, "unmeasured", error=said))
            if len(rows) == _BATCH:
                _list(rows, listed)
                rows = []
    _list(rows, listed)
    return listed


def _row(record: Record | BadRecord, limits: Limits) -> dict:
    from pipelines.samples.sample_row import sample_row

    if isinstance(record, BadRecord):
        raise record.error
    return sample_row(record, limits)


def _list(rows: list[dict], listed: Listed) -> None:
    from pipelines.signals.scorers.audio_fingerprint import FINGERPRINT
    from pipelines.signals.scorers.image_copies import COPIES
    from pipelines.signals.scorers.image_hash import HASH
    from pipelines.signals.scoring import score

    columns = {
        c: pa.array([r.get(c) for r in rows], schema.SAMPLES.field(c).type) for c in _COLUMNS
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    done = score(batch, [HASH, COPIES, FINGERPRINT]).columns
    wanted = ("image_pdq_quality", *COPIES.gives, *FINGERPRINT.gives)
    signals = (done[name].to_pylist() for name in wanted)
    for row, (quality, copies, look, heard) in enumerate(zip(*signals, strict=True)):
        key = rows[row]["key"]
        if copies is not None and quality is not None and quality >= QUALITY:
            listed.pictures.append((key, copies, look))
        if heard is not None:
            listed.prints.append((key, heard))
    for sample, folded in zip(rows, fold([r["text"] or "" for r in rows]), strict=True):
        listed.add_text(sample["key"], folded)
