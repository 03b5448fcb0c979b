"""Checks of the whole corpus that warn: a person decides what to do. They block nothing.

Failed share of a drop, secrets in metadata, formats. `assets.space_health` has those of a space.
"""

import os
import re
from collections.abc import Iterator, Mapping

import dagster as dg

from assets.drop_assets import samples
from assets.materialise import DROPS
from assets.space_health import warning
from assets.spaces import MAIN
from store.tables import schema
from store.tables.formats import FORMAT, format_of
from store.tables.staging import stage_record
from store.workspace import Workspace

FAILED_SHARE = 0.05
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
    return warning(
        share <= FAILED_SHARE,
        f"{share:.1%} of the records failed: `isotrope report curation` shows them by error",
        {"failed_share": share},
    )


@dg.asset_check(asset=MAIN["release"], blocking=False)
def no_secrets(
    context: dg.AssetCheckExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.AssetCheckResult:
    """No credential is in the texts that people see: errors of the ledger, Dagster's metadata."""
    hidden = list(_secret_values(os.environ))
    places = [place for place, text in _shown_texts(context, corpus) if has_secret(text, hidden)]
    return warning(not places, f"credentials are in: {', '.join(sorted(set(places)))}", {})


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
    return warning(
        not others,
        f"tables of another format than {FORMAT}: {', '.join(others)}; `isotrope run` migrates",
        {"tables": len(formats)},
    )


HEALTH_CHECKS = [few_failures, no_secrets, formats_are_current]
