"""Kinds of delivered files, recognised by their names."""

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIXES = (".parquet", ".pq")
JSONL_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
LANCE_SUFFIX = ".lance"
PDF_SUFFIX = ".pdf"
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts"),
    *(".ogv", ".wmv", ".flv"),
)
STATS_SUFFIX = "_stats.json"  # img2dataset writes such a file beside each of its shards

_SUFFIXES = (*TAR_SUFFIXES, *PARQUET_SUFFIXES, *JSONL_SUFFIXES, LANCE_SUFFIX)


def is_tar(path: str) -> bool:
    """Whether the path names a tar, plain or gzipped."""
    return path.lower().endswith(TAR_SUFFIXES)


def is_parquet(path: str) -> bool:
    """Whether the path names a Parquet file."""
    return path.lower().endswith(PARQUET_SUFFIXES)


def is_jsonl(path: str) -> bool:
    """Whether the path names a JSONL file, plain or gzipped."""
    return path.lower().endswith(JSONL_SUFFIXES)


def is_pdf(path: str) -> bool:
    """Whether the path names a PDF document."""
    return path.lower().endswith(PDF_SUFFIX)


def is_video(path: str) -> bool:
    """Whether the path names a video."""
    return path.lower().endswith(VIDEO_SUFFIXES)


def is_manifest(path: str) -> bool:
    """Whether the path names a manifest file: Parquet or JSONL. A Lance dataset is a folder."""
    return is_parquet(path) or is_jsonl(path)


def stem_of(path: str) -> str:
    """The path without the suffix of its kind; the path itself where it has none of these."""
    suffix = next((s for s in _SUFFIXES if path.lower().endswith(s)), "")
    return path[: len(path) - len(suffix)]
