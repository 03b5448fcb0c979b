"""The signals: every measured column with its type, and the scorer that measures it.

`SCORERS` declares each scorer once: version, columns, whether it is optional. The schema of the
table `signals`, the run keys, and the scorers themselves are derived from it. A new signal is an
entry here, a file in `pipelines/signals/scorers/`, and a line in `pipelines/signals/registry.py`.

A signal column is null if the sample has no part to measure, if an optional scorer is turned off,
or if the scorer failed on this sample (then the ledger has the error).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

MODALITIES = ("image", "text", "audio")
KEYPOINTS, VIEW = 192, 64  # of `image_local`: local features of an image, pixels of a side


@dataclass(frozen=True)
class ScorerColumns:
    """What one scorer adds to the table `signals`.

    Attributes:
        version: of the scorer. Raise it when the scorer would give other values: the signals of
            every drop are then out of date, and only this scorer's columns are measured again.
        columns: its signals with their types. The policy can have rules for them.
        fingerprints: columns that only the search for duplicates reads; no policy rules.
        optional: it runs only if corpus.yaml turns it on. A scorer that gives fingerprints alone
            runs if a search for duplicates needs them (`CorpusConfig.fingerprint_scorers`).
    """

    version: int
    columns: Mapping[str, pa.DataType]
    fingerprints: Mapping[str, pa.DataType] = field(default_factory=dict)
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns that the scorer gives."""
        return (*self.columns, *self.fingerprints)

    @property
    def is_fingerprint(self) -> bool:
        """Whether it gives fingerprints alone."""
        return not self.columns


# The order of the scorers and of their columns is the order of the columns in the table `signals`.
# Its schema is hashed into run keys, so a changed order would make every drop out of date.
SCORERS = {
    "image_size": ScorerColumns(
        version=1,
        columns={
            "image_width": pa.int32(),
            "image_height": pa.int32(),
            "image_min_side": pa.int32(),
            "image_aspect": pa.float32(),
            "image_bytes": pa.int64(),
            "image_format": pa.string(),
        },
    ),
    "image_pixels": ScorerColumns(
        version=1,
        columns={
            "image_animated": pa.int32(),
            "image_sharpness": pa.float32(),
            "image_entropy": pa.float32(),
            "image_brightness": pa.float32(),
            "image_contrast": pa.float32(),
            "image_uniformity": pa.float32(),
        },
    ),
    "image_hash": ScorerColumns(
        version=1,
        columns={"image_pdq_quality": pa.int32()},
        fingerprints={"image_pdq": pa.binary(32)},
    ),
    "image_copies": ScorerColumns(
        version=1,
        columns={},
        fingerprints={"image_copies": pa.binary(16 * 32), "image_look": pa.binary(32 * 32 * 3)},
    ),
    "image_local": ScorerColumns(
        version=1,
        columns={},
        fingerprints={
            "image_keypoints": pa.binary(6 + KEYPOINTS * 38),
            "image_view": pa.binary(VIEW * VIEW * 3),
        },
    ),
    "image_edits": ScorerColumns(
        version=1,
        columns={
            "image_double_jpeg": pa.float32(),
            "image_splice": pa.float32(),
            "image_resampled": pa.float32(),
        },
        optional=True,
    ),
    "image_nsfw": ScorerColumns(
        version=1,
        columns={"image_nsfw": pa.float32()},
        optional=True,
    ),
    # One scorer for each classifier that corpus.yaml names; it is called after its one column.
    "image_classifier": ScorerColumns(
        version=1,
        columns={
            "image_aesthetic": pa.float32(),
            "image_watermark": pa.float32(),
            "image_class": pa.float32(),
        },
        optional=True,
    ),
    "text_length": ScorerColumns(
        version=2,
        columns={
            "text_chars": pa.int32(),
            "text_words": pa.int32(),
            "text_special_ratio": pa.float32(),
            "text_digit_ratio": pa.float32(),
        },
    ),
    "text_repetition": ScorerColumns(
        version=1,
        columns={
            "text_repeated_lines": pa.float32(),
            "text_top_2gram": pa.float32(),
            "text_top_3gram": pa.float32(),
            "text_top_4gram": pa.float32(),
            "text_repeated_5grams": pa.float32(),
            "text_repeated_10grams": pa.float32(),
        },
    ),
    "text_language": ScorerColumns(
        version=2,
        columns={"text_language": pa.string(), "text_language_score": pa.float32()},
    ),
    "text_contacts": ScorerColumns(
        version=1,
        columns={
            "text_urls": pa.int32(),
            "text_emails": pa.int32(),
            "text_phones": pa.int32(),
        },
    ),
    "text_flagged": ScorerColumns(
        version=1,
        columns={"text_flagged_words": pa.int32()},
    ),
    "text_offensive": ScorerColumns(
        version=1,
        columns={"text_offensive": pa.float32()},
        optional=True,
    ),
    "text_boilerplate": ScorerColumns(
        version=1,
        columns={"text_boilerplate": pa.string()},
    ),
    "audio_length": ScorerColumns(
        version=2,
        columns={
            "audio_seconds": pa.float64(),
            "audio_rate": pa.int32(),
            "audio_channels": pa.int32(),
            "audio_bytes": pa.int64(),
            "audio_format": pa.string(),
        },
    ),
    "audio_loudness": ScorerColumns(
        version=1,
        columns={"audio_loudness": pa.float32()},
    ),
    "audio_levels": ScorerColumns(
        version=1,
        columns={
            "audio_clipping": pa.float32(),
            "audio_silence": pa.float32(),
            "audio_snr": pa.float32(),
        },
    ),
    "audio_bandwidth": ScorerColumns(
        version=1,
        columns={"audio_bandwidth": pa.float32()},
    ),
    "audio_speech": ScorerColumns(
        version=1,
        columns={"audio_speech": pa.float32()},
        optional=True,
    ),
    "audio_fingerprint": ScorerColumns(
        version=1,
        columns={},
        fingerprints={"audio_fingerprint": pa.binary()},
    ),
}


def optional_scorers() -> dict[str, tuple[str, ...]]:
    """The columns of each optional scorer; each classifier is one, named after its column."""
    columns: dict[str, tuple[str, ...]] = {}
    for name, scorer in SCORERS.items():
        if name == "image_classifier":
            columns |= {column: (column,) for column in scorer.columns}
        elif scorer.optional:
            columns[name] = scorer.names
    return columns


SIGNAL_TYPES: dict[str, pa.DataType] = {
    name: kind for scorer in SCORERS.values() for name, kind in scorer.columns.items()
}
FINGERPRINT_TYPES: dict[str, pa.DataType] = {
    name: kind for scorer in SCORERS.values() for name, kind in scorer.fingerprints.items()
}

# The signals of pairs: how well a sample's parts fit each other in one space. They are measured
# from vectors, not by scorers, and are null if one of the parts is not embedded.
_PAIRS = ("text_image", "text_audio", "image_audio")
PAIR_TYPES: dict[str, pa.DataType] = {
    **{f"{p}_{w}": pa.float32() for p in _PAIRS for w in ("cosine", "corrected", "rank")},
    "text_image_audio_volume": pa.float32(),
    "image_laion_aesthetic": pa.float32(),
    **{f"{m}_cluster": pa.int32() for m in MODALITIES},
    **{f"{p}_mismatch": pa.float32() for p in _PAIRS},
    "text_repair": pa.float32(),
    **{f"{m}_hubness": pa.float32() for m in MODALITIES},
}
# The caption that the stage `pairs` proposes in place of one that does not belong to its image: the
# id of the text, the text, and the sample that has it. `decisions` has the same columns, filled if
# the policy accepts the proposal.
REPAIR_TYPES: dict[str, pa.DataType] = {
    "repair_text_id": pa.string(),
    "repair_text": pa.large_string(),
    "repair_from": pa.string(),
}
