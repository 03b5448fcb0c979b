"""Checks that warn: a person decides what to do. They block nothing.

Failed share of a drop, age of the release, hubs that may be planted, secrets in metadata, formats.
"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import numpy as np

from assets.drop_assets import samples
from assets.materialise import DROPS
from assets.metadata.markdown import table
from assets.spaces import MAIN
from store.metrics.poisoned_hubs import suspects
from store.tables import releases, schema
from store.tables.banks import Banks
from store.tables.formats import FORMAT, format_of
from store.tables.names import bank_table, gallery_table
from store.tables.staging import stage_record
from store.workspace import Workspace

FAILED_SHARE = 0.05
RELEASE_DAYS = 8
_SHORTEST_SECRET = 12
_SECRET_NAME = re.compile(r"(?i)(secret|password|passwd|token|api_?key|access_key)")
_SECRET_TEXT = re.compile(
    r"://[^/\s:@]+:[^/\s@]+@|X-Amz-Signature=\w+|\bAKIA[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY"
)


@dg.asset_check(asset=samples, blocking=False, partitions_def=DROPS)
def few_failures(
    context: dg.AssetCheckExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.AssetCheckResult:
    """At most 5% of the records of a drop failed. More than its error budget blocks the drop."""
    done = stage_record(corpus.tables, "samples", context.partition_key) or {}
    share = done.get("failed", 0) / max(done.get("input", 0), 1)
    return _warn(
        share <= FAILED_SHARE,
        f"{share:.1%} of the records failed: `isotrope report curation` shows them by error",
        {"failed_share": share},
    )


@dg.asset_check(asset=MAIN["release"], blocking=False)
def release_is_fresh(corpus: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """The newest release is at most eight days old."""
    last = releases.latest_release(corpus.tables, corpus.config.space)
    days = (datetime.now(UTC) - last.created_at).total_seconds() / 86_400
    return _warn(
        days <= RELEASE_DAYS,
        f"release {last.number} is {days:.1f} days old: look for runs that failed",
        {"days": days},
    )


@dg.asset_check(asset=MAIN["gallery"], blocking=False)
def no_planted_hubs(corpus: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """No item is among the answers of an unusual share of unrelated queries of the bank.

    At most 0.2% of a gallery is reported.
    """
    rows = list(_planted_hubs(corpus))
    return _warn(
        not rows,
        f"{len(rows)} items answer an unusual share of the queries: look at them, and remove them"
        " with `isotrope takedown --id` if they were planted",
        {"suspects": table(("gallery", "queries", "sample", "caption", "share"), rows)},
    )


def _planted_hubs(corpus: Workspace) -> Iterator[tuple[Any, ...]]:
    from pipelines.gallery.k_occurrence import MOST_QUERIES

    tables, space = corpus.tables, corpus.config.space
    banks = Banks(tables.open(bank_table(space)).to_table())
    counts = {m: min(len(banks.queries(m).vectors), MOST_QUERIES) for m in schema.MODALITIES}
    for modality in schema.MODALITIES:
        name = gallery_table(space, modality)
        if (dataset := tables.open_or_none(name)) is None:
            continue
        columns = ["id", "caption", *(f"occurrence_{m}" for m in counts)]
        rows = dataset.to_table(columns)
        for query, count in counts.items():
            if rows[f"occurrence_{query}"].null_count or not count:
                continue
            occurrence = np.asarray(rows[f"occurrence_{query}"])
            for index in suspects(occurrence, count):
                row = rows.slice(index, 1).to_pylist()[0]
                share = occurrence[index] / count
                yield modality, query, row["id"], (row["caption"] or "")[:60], f"{share:.0%}"


@dg.asset_check(asset=MAIN["release"], blocking=False)
def no_secrets(
    context: dg.AssetCheckExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.AssetCheckResult:
    """No credential is in the texts that people see: errors of the ledger, Dagster's metadata."""
    hidden = list(_secret_values(os.environ))
    places = [place for place, text in _shown_texts(context, corpus) if has_secret(text, hidden)]
    return _warn(not places, f"credentials are in: {', '.join(sorted(set(places)))}", {})


def has_secret(text: str, values: list[str]) -> bool:
    """Whether a text holds one of these values, or something of the form of a credential."""
    return bool(_SECRET_TEXT.search(text)) or any(value in text for value in values)


def _secret_values(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            yield value


def _shown_texts(
    context: dg.AssetCheckExecutionContext, corpus: Workspace
) -> Iterator[tuple[str, str]]:
    """(place, text) of what the page, reports and commands show."""
    errors = corpus.tables.scan("ledger", schema.LEDGER, ["error"], "error IS NOT NULL")
    for text in errors["error"].unique().to_pylist():
        yield "the ledger", text
    for key in context.instance.get_asset_keys():
        event = context.instance.get_latest_materialization_event(key)
        made = event.asset_materialization if event else None
        for name, value in (made.metadata if made else {}).items():
            yield f"metadata {name!r} of {key.to_user_string()}", str(value.value)


@dg.asset_check(asset=MAIN["release"], blocking=False)
def formats_are_current(corpus: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Every table has the format that this version of the code writes."""
    formats = {
        name: format_of(corpus.tables.open(name, any_format=True).schema)
        for name in corpus.tables.names()
    }
    others = [f"{name} has {number}" for name, number in formats.items() if number != FORMAT]
    return _warn(
        not others,
        f"tables of another format than {FORMAT}: {', '.join(others)}; `isotrope run` migrates",
        {"tables": len(formats)},
    )


def _warn(passed: bool, problem: str, metadata: dict[str, Any]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if passed else problem,
        metadata=metadata,
    )


HEALTH_CHECKS = [few_failures, release_is_fresh, no_planted_hubs, no_secrets, formats_are_current]
