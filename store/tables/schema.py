"""The Arrow schemas of the tables: the contract between everything that writes and reads."""

from collections.abc import Sequence

import pyarrow as pa

from store.tables.signals import FINGERPRINT_TYPES, MODALITIES, PAIR_TYPES, SIGNAL_TYPES


def _text(name: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False)


SAMPLES = pa.schema(
    [
        _text("drop"),
        _text("id"),
        _text("source"),
        _text("key"),
        pa.field("image_id", pa.string()),
        pa.field("audio_id", pa.string()),
        pa.field("text_id", pa.string()),
        pa.field("text", pa.large_string()),
        pa.field("image", pa.large_binary()),
        pa.field("image_bytes", pa.int64()),
        pa.field("image_format", pa.string()),
        pa.field("image_width", pa.int32()),
        pa.field("image_height", pa.int32()),
        pa.field("audio", pa.large_binary()),
        pa.field("audio_bytes", pa.int64()),
        pa.field("audio_format", pa.string()),
        pa.field("audio_seconds", pa.float64()),
        pa.field("audio_rate", pa.int32()),
        pa.field("audio_channels", pa.int32()),
        pa.field("meta", pa.large_string()),
    ]
)
PAIRS = pa.schema([_text("drop"), _text("id"), *(pa.field(n, t) for n, t in PAIR_TYPES.items())])

# `scorers` names what measured the row, each with its version, as `name@version name@version`.
SIGNALS = pa.schema(
    [
        _text("drop"),
        _text("id"),
        *(pa.field(n, t) for n, t in (SIGNAL_TYPES | FINGERPRINT_TYPES).items()),
        pa.field("scorers", pa.string()),
    ]
)

# A record that did not pass a stage. `rejected` has a rule with value and threshold,
# `failed` an error. `unmeasured` passed, but lacks a signal: its rule names the scorer.
LEDGER = pa.schema(
    [
        _text("drop"),
        _text("stage"),
        _text("source"),
        _text("key"),
        pa.field("id", pa.string()),
        _text("outcome"),
        _text("rule"),
        pa.field("value", pa.string()),
        pa.field("threshold", pa.string()),
        pa.field("error", pa.string()),
    ]
)

# The last word on a stage: it is written after everything else, so what is not here is missing.
STAGES = pa.schema(
    [
        _text("drop"),
        _text("stage"),
        _text("run_key"),
        _text("output"),
        pa.field("input", pa.int64(), nullable=False),
        pa.field("kept", pa.int64(), nullable=False),
        pa.field("rejected", pa.int64(), nullable=False),
        pa.field("failed", pa.int64(), nullable=False),
        pa.field("units", pa.int64(), nullable=False),
        pa.field("resumed", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("published_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
EVALUATION = "evaluation:"

# `cluster` is the id of the sample that stands for this one, or the key of an evaluation sample;
# `kind` is exact, image, audio, text, semantic, or `evaluation:NAME`. A sample of a drop is lost
# at most once.
DUPLICATES = pa.schema(
    [
        _text("id"),
        _text("drop"),
        _text("cluster"),
        _text("kind"),
        pa.field("representative", pa.bool_(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
    ]
)
DECISIONS = pa.schema(
    [
        _text("drop"),
        _text("id"),
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("rule", pa.string()),
        pa.field("value", pa.string()),
        pa.field("threshold", pa.string()),
        _text("policy"),
    ]
)
RELEASES = pa.schema(
    [
        pa.field("release", pa.int64(), nullable=False),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        _text("space"),
        _text("space_config"),
        pa.field("dim", pa.int64(), nullable=False),
        _text("fingerprints"),
        _text("banks"),
        _text("versions"),
        _text("directions"),
        _text("evaluation"),
        _text("policy"),
    ]
)

# What was measured of a release's fresh queries, one row a direction and measurement.
DRIFT = pa.schema(
    [
        pa.field("measured_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("release", pa.int64(), nullable=False),
        _text("direction"),
        pa.field("bound", pa.float64(), nullable=False),
        pa.field("queries", pa.int64(), nullable=False),
        _text("note"),
        pa.field("source", pa.string()),
        pa.field("fresh", pa.float64()),
        pa.field("reference", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("drifted", pa.bool_()),
    ]
)


def vectors(dim: int) -> pa.Schema:
    return pa.schema(
        [
            _text("part_id"),
            _text("modality"),
            _text("encoder"),
            pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )


def banks(dim: int) -> pa.Schema:
    """What is set aside, by `split`, each row with its `origin`, its vector's `encoder`, and the
    key of what all rows were drawn by.

    bank, validation, test: pairs of the corpus; both parts of a pair are in the split, and the
    gallery's bank is that of `bank`. queries: the query bank of a modality, where it is not the
    corpus's own alone. reference: queries of the same origin that no correction is fitted to.
    """
    return pa.schema(
        [
            _text("split"),
            _text("modality"),
            _text("part_id"),
            _text("sample_id"),
            _text("cluster"),
            _text("origin"),
            _text("encoder"),
            _text("draw"),
            pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )


def query_log(dim: int) -> pa.Schema:
    """What was asked: vectors, and never a text or a picture."""
    return pa.schema(
        [
            pa.field("asked_at", pa.timestamp("us", tz="UTC"), nullable=False),
            _text("space"),
            _text("fingerprint"),
            _text("modality"),
            pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )


def served_width(dim: int) -> int:
    """Dimensions of a served vector: g, one a query modality, zeros up to a multiple of 16, which
    every kind of index can cut into parts."""
    return -(-(dim + len(MODALITIES)) // 16) * 16


def gallery(dim: int, moved: Sequence[str] = ()) -> pa.Schema:
    """What search reads, laid out as `store.search.vector_layout` says.

    `vector` holds the unit vector g; `vector_{m}` what queries of modality m are compared with,
    where their correction moves it (`moved`). `bias_{m}` is subtracted from the score of a query of
    modality m; by methods that decide query by query, only where the top item has `hub_{m}`.
    `occurrence_{m}` is the item's k-occurrence: in how many raw top tens of the bank's queries of
    modality m it stands; null where there is no such bank.
    """
    served = pa.list_(pa.float32(), served_width(dim))
    return pa.schema(
        [
            _text("part_id"),
            pa.field("vector", served, nullable=False),
            *(pa.field(f"vector_{m}", served, nullable=False) for m in sorted(moved)),
            *(pa.field(f"bias_{m}", pa.float32(), nullable=False) for m in MODALITIES),
            *(pa.field(f"hub_{m}", pa.bool_(), nullable=False) for m in MODALITIES),
            *(pa.field(f"occurrence_{m}", pa.int32()) for m in MODALITIES),
            _text("id"),
            pa.field("sample_ids", pa.list_(pa.string()), nullable=False),
            pa.field("drops", pa.list_(pa.string()), nullable=False),
            _text("cluster"),
            _text("key"),
            pa.field("caption", pa.large_string()),
            pa.field("thumbnail", pa.binary()),
            *(pa.field(n, t) for n, t in SIGNAL_TYPES.items()),
        ]
    )


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind)
