"""The signals: measurements of samples. A policy has rules for them by name."""

import pyarrow as pa

MODALITIES = ("image", "text", "audio")

# One nullable column for each signal. Null means that the sample has no such part, that an optional
# scorer is not switched on, or that the scorer could not measure this sample (see the ledger).
SIGNAL_TYPES: dict[str, pa.DataType] = {
    "image_width": pa.int32(),
    "image_height": pa.int32(),
    "image_min_side": pa.int32(),
    "image_aspect": pa.float32(),
    "image_bytes": pa.int64(),
    "image_format": pa.string(),
    "image_animated": pa.int32(),
    "image_sharpness": pa.float32(),
    "image_entropy": pa.float32(),
    "image_brightness": pa.float32(),
    "image_contrast": pa.float32(),
    "image_uniformity": pa.float32(),
    "image_pdq_quality": pa.int32(),
    "image_nsfw": pa.float32(),
    "image_aesthetic": pa.float32(),
    "image_watermark": pa.float32(),
    "image_class": pa.float32(),
    "text_chars": pa.int32(),
    "text_words": pa.int32(),
    "text_special_ratio": pa.float32(),
    "text_digit_ratio": pa.float32(),
    "text_repeated_lines": pa.float32(),
    "text_top_2gram": pa.float32(),
    "text_top_3gram": pa.float32(),
    "text_top_4gram": pa.float32(),
    "text_repeated_5grams": pa.float32(),
    "text_repeated_10grams": pa.float32(),
    "text_language": pa.string(),
    "text_language_score": pa.float32(),
    "text_urls": pa.int32(),
    "text_emails": pa.int32(),
    "text_phones": pa.int32(),
    "text_flagged_words": pa.int32(),
    "text_boilerplate": pa.string(),
    "audio_seconds": pa.float64(),
    "audio_rate": pa.int32(),
    "audio_channels": pa.int32(),
    "audio_bytes": pa.int64(),
    "audio_format": pa.string(),
    "audio_loudness": pa.float32(),
    "audio_clipping": pa.float32(),
    "audio_silence": pa.float32(),
    "audio_snr": pa.float32(),
    "audio_bandwidth": pa.float32(),
    "audio_speech": pa.float32(),
}

# Fingerprints for finding duplicates. They are measured like signals, but a policy cannot use them.
FINGERPRINT_TYPES: dict[str, pa.DataType] = {
    "image_pdq": pa.binary(32),
    "image_copies": pa.binary(16 * 32),
    "image_look": pa.binary(32 * 32 * 3),
    "audio_fingerprint": pa.binary(),
}

# Signals that compare the parts of a sample in one space. Null if a part has no vector.
_PAIRS = ("text_image", "text_audio", "image_audio")
PAIR_TYPES: dict[str, pa.DataType] = {
    **{f"{p}_{w}": pa.float32() for p in _PAIRS for w in ("cosine", "corrected", "rank")},
    "text_image_audio_volume": pa.float32(),
    "image_laion_aesthetic": pa.float32(),
    **{f"{m}_cluster": pa.int32() for m in MODALITIES},
}

# The version of each scorer. Raise it when the scorer's values change: the stage `signals` is then
# out of date, and only the signals of that scorer are measured again.
SCORERS = {
    "image_size": 1,
    "image_pixels": 1,
    "image_hash": 1,
    "image_copies": 1,
    "text_length": 2,
    "text_repetition": 1,
    "text_language": 2,
    "text_contacts": 1,
    "text_flagged": 1,
    "text_boilerplate": 1,
    "audio_length": 2,
    "audio_levels": 1,
    "audio_loudness": 1,
    "audio_bandwidth": 1,
    "audio_fingerprint": 1,
}

# Scorers that run only if corpus.yaml switches them on.
OPTIONAL = {"image_nsfw": 1, "audio_speech": 1, "image_classifier": 1}
