"""What every asset links to: its report page, a section of the runbook, the explorer."""

import re
from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.reports.curation.report import PAGE
from store.config.links import Links

RUNBOOK = "docs/operations.md"
EXPLORER = "/explorer/"
REPORT = "report.html"  # in the corpus's folder, written by `isotrope report`
# The section of the runbook for each stage: what to do if it fails or must be changed.
SECTIONS = {
    "samples": "Take something down",
    "signals": "Cancel, retry, resume",
    "vectors": "Lose the Ray cluster",
    "duplicates": "Cancel, retry, resume",
    "decisions": "Cancel, retry, resume",
    "curation": "Cancel, retry, resume",
    "pairs": "Add a space",
    "banks": "What runs by itself",
    "gallery": "Lose the Ray cluster",
    "index": "Back up and restore",
    "release": "Roll back a release",
}
_OF_CURATION = ("samples", "signals", "duplicates", "decisions", "curation")


def links(stage: str, root: Path | None, addresses: Links) -> dict[str, Any]:
    """The links of an asset, as metadata of its definition.

    Args:
        stage: its name, whatever the space.
        root: the folder of the corpus. None: it is not known, so there is no report.
        addresses: of corpus.yaml.
    """
    section = SECTIONS[stage]
    shown: dict[str, Any] = {"runbook": f"{RUNBOOK}, section “{section}”"}
    if addresses.runbook is not None:
        shown["runbook"] = dg.MetadataValue.url(f"{addresses.runbook}#{anchor(section)}")
    if root is not None:
        page = PAGE if stage in _OF_CURATION else REPORT
        shown["report"] = dg.MetadataValue.path(root / page)
    if addresses.server is not None:
        shown["explorer"] = dg.MetadataValue.url(addresses.server.rstrip("/") + EXPLORER)
    return shown


def anchor(section: str) -> str:
    """The anchor of a section, as GitHub and Sphinx (MyST) make it from its heading."""
    return re.sub(r"[^\w -]", "", section.lower()).replace(" ", "-")
