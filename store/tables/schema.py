"""The Arrow schemas of the tables. All writers and readers use these."""

from collections.abc import Sequence

import pyarrow as pa

from store.tables.signals import (
    FINGERPRINT_TYPES,
    MODALITIES,
    PAIR_TYPES,
    REPAIR_TYPES,
    SCORERS,
    SIGNAL_TYPES,
)


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
PAIRS = pa.schema(
    [
        *map(_text, ("drop", "id")),
        *(pa.field(n, t) for n, t in (PAIR_TYPES | REPAIR_TYPES).items()),
    ]
)


# Columns that may be null and that tables of format 1 got later.
_ADDED = {
    *(n for n in PAIR_TYPES if n.endswith(("_mismatch", "_repair", "_hubness"))),
    *(*REPAIR_TYPES, "cascade"),
    *(n for s in ("image_local", "image_edits", "text_offensive") for n in SCORERS[s].names),
}

# `scorers`: what measured the row, as `name@version name@version`; `cascade`: `cascade_notes`.
SIGNALS = pa.schema(
    [
        *map(_text, ("drop", "id")),
        *(pa.field(n, t) for n, t in (SIGNAL_TYPES | FINGERPRINT_TYPES).items()),
        *(pa.field(name, pa.string()) for name in ("scorers", "cascade")),
    ]
)

# Records with problems. By `outcome`, a record was `rejected` by a rule (with value and threshold),
# `failed` with an error, or `unmeasured`: it passed the stage, but the scorer in `rule` could not
# measure it.
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

# The commit record of a stage of a drop. It is written after everything else: a stage without a
# record counts as missing.
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
EVALUATION_PREFIX = "evaluation:"

# `cluster` is the id of the representative that is kept instead of this sample, or the key of an
# evaluation sample. `kind` is exact, image, crops, audio, text, semantic, or `evaluation:NAME`. A
# sample of a drop is removed as a duplicate at most once.
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
        *(pa.field(n, t) for n, t in REPAIR_TYPES.items()),
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
        pa.field("indexes", pa.string()),  # null: made before galleries were indexed
        pa.field("part_weights", pa.string()),  # null: made before there were such weights
    ]
)

# Measurements of a release's fresh queries, one row for each direction and measurement
# (`store.tables.drift.Drift`).
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

# Translated captions of test samples (`id`) that the newest release used as queries. `part_id` is
# the content hash of the translation; the vector is null if the encoder rejects it.
TRANSLATIONS = pa.schema(
    [
        _text("id"),
        _text("part_id"),
        _text("encoder"),
        pa.field("vector", pa.list_(pa.float32())),
    ]
)


def vectors(dim: int, stored_as: str = "float32") -> pa.Schema:
    """The vectors of all parts in one space, each part once.

    Args:
        dim: of the space.
        stored_as: float32 or float16. `as_matrix` gives float32 for both.
    """
    number = pa.float16() if stored_as == "float16" else pa.float32()
    return pa.schema(
        [
            _text("part_id"),
            _text("modality"),
            _text("encoder"),
            pa.field("vector", pa.list_(number, dim), nullable=False),
        ]
    )


def banks(dim: int) -> pa.Schema:
    """The queries and items that corrections are fitted and evaluated on.

    `origin` says where a row comes from, `encoder` what made its vector, and `draw` is the key of
    the settings that all rows were drawn by. The values of `split` are:

    - `bank`, `validation`, `test`: pairs of the corpus. Both parts of a pair are in the same split.
      The items of `bank` are the gallery bank.
    - `queries`: the query bank of a modality, if it is not only from the corpus.
    - `reference`: queries of the same origin on which no correction is fitted.
    - `validation_queries`, `test_queries`: parts of these splits as queries, with the vectors of
      a bridge, if the space has one (`queries` of its configuration).
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
    """The vectors of past queries. Texts and images of queries are never stored."""
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
    """The number of dimensions of a served vector.

    It holds the vector, one dimension for each modality of queries, and zeros up to a multiple of
    16: every type of index can split that into sub-vectors.
    """
    return -(-(dim + len(MODALITIES)) // 16) * 16


def gallery(dim: int, moved: Sequence[str] = (), more: Sequence[pa.Field] = ()) -> pa.Schema:
    """The items of one modality that search reads. Vectors are laid out as in
    `store.search.vector_layout`.

    - `vector`: the unit vector of the item.
    - `vector_{m}`: the moved vector that queries of modality m are compared with, if their
      correction moves vectors.
    - `bias_{m}`: subtracted from the scores of queries of modality m.
    - `hub_{m}`: dynamic methods subtract the bias only if the query's top item has this flag.
    - `occurrence_{m}`: the item's k-occurrence: in how many raw top tens of the bank's queries of
      modality m it is. Null if there is no such bank.

    Args:
        dim: of the space.
        moved: the modalities m that have a column `vector_{m}`.
        more: columns that corpus.yaml asks for (`store.tables.words`).
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
            *more,
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


def key_text(columns: pa.Schema) -> str:
    """A schema as it counts in run keys: without columns that were added later.

    So a new column does not make corpora out of date. The setting that fills it is in the key.
    """
    return str(pa.schema([field for field in columns if field.name not in _ADDED]))


def is_text(data_type: pa.DataType) -> bool:
    """Whether a signal of this type is text. All others are numbers."""
    return pa.types.is_string(data_type)
