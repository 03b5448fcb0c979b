"""Kinds of delivered files, by their names."""

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIXES = (".parquet", ".pq")
JSONL_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
LANCE_SUFFIX = ".lance"
STATS = "_stats.json"  # what img2dataset counts beside each of its shards

_KNOWN = (*TAR_SUFFIXES, *PARQUET_SUFFIXES, *JSONL_SUFFIXES, LANCE_SUFFIX)


def is_tar(path: str) -> bool:
    return path.lower().endswith(TAR_SUFFIXES)


def is_parquet(path: str) -> bool:
    return path.lower().endswith(PARQUET_SUFFIXES)


def is_jsonl(path: str) -> bool:
    return path.lower().endswith(JSONL_SUFFIXES)


def is_manifest(path: str) -> bool:
    return is_parquet(path) or is_jsonl(path)


def stem_of(path: str) -> str:
    """A path without the suffix that tells its kind, if it has one."""
    suffix = next((s for s in _KNOWN if path.lower().endswith(s)), "")
    return path[: len(path) - len(suffix)]
