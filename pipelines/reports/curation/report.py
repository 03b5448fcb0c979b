"""The page: one file of HTML over all drops, and one for each of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.reports.canvas import short_number
from pipelines.reports.curation.column_statistics import SampleRef
from pipelines.reports.curation.data import PageData, read_page_data
from pipelines.reports.curation.duplicates import Cluster
from pipelines.reports.curation.exclusion import GROUPS, MOST, groups
from pipelines.reports.curation.sample_cards import Samples
from pipelines.reports.curation.signal_sections import Signal, signal
from pipelines.reports.histograms import page_histograms
from pipelines.reports.html import short, write
from pipelines.reports.outcomes import FunnelStep, Outcomes, funnel, total_by_rule, with_keys
from store import identity
from store.errors import NotFoundError
from store.tables import schema
from store.workspace import Workspace

PAGE = "reports/curation.html"  # in the corpus's folder
MOST_DROPS = 50  # that get a page of their own without being asked for
_MOST_RULES = 40
_SEVERAL = {"image": "Pictures", "text": "Texts", "audio": "Recordings", None: "Parts together"}


def write_curation(
    workspace: Workspace, out: Path, drop: str | None = None, by: Sequence[str] = GROUPS
) -> list[Path]:
    """Write the page of all drops to `out` and, beside it, one of each drop where there are
    several; or the page of one drop alone to `out`.

    Args:
        by: what groups are told by: `drop`, `source`, and text columns of `signals`.

    Raises:
        InputError: groups cannot be told by a column of `by`.
        NotFoundError: there is no such drop.
    """
    found = read_page_data(workspace, by, drop)
    if drop is not None:
        if drop not in found.drops:
            raise NotFoundError(f"no drop {drop!r} has been read; `isotrope run` reads them")
        return [_write(workspace, found, by, out, drop, {})]
    several = found.drops[:MOST_DROPS] if len(found.drops) > 1 else []
    links = {name: page_of(out, name) for name in several}
    names = {name: path.name for name, path in links.items()}
    pages = [_write(workspace, found, by, out, None, names)]
    return pages + [_write(workspace, found, by, p, name, {}) for name, p in links.items()]


def page_of(out: Path, drop: str) -> Path:
    """Where the page of a drop lies, beside the page of all. Names that are no good as files, or
    that would become the same one, are told apart by a digest."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", drop)[:80]
    if plain != drop:
        plain += f"-{identity.run_key(drop)[:8]}"
    return out.with_name(f"{out.stem}-{plain}{out.suffix}")


def _write(
    workspace: Workspace,
    found: PageData,
    by: Sequence[str],
    out: Path,
    drop: str | None,
    links: dict[str, str],
) -> Path:
    outcomes = found.outcomes.of_drop(drop)
    measured = _signals(found, drop)
    kinds, clusters = found.duplicates.get(drop, ([], []))
    samples = Samples(workspace)
    reasons = with_keys(workspace.tables, total_by_rule(outcomes.reasons)[:_MOST_RULES])
    places = {place for one in measured for place in one.places()}
    places |= {place for cluster in clusters for place in cluster.places}
    samples.look_up(places)
    wanted: dict[SampleRef, set[str]] = {}
    for one in measured:
        for place in one.choose(samples):
            wanted.setdefault(place, set()).update(one.draws)
    for cluster in clusters:
        for place in cluster.places:
            if samples.get(place) is not None:
                wanted.setdefault(place, set()).update(("image", "audio"))
    samples.draw(wanted)
    counted = [c for c in found.counts if drop in (None, c.drop)]
    tables = {name: groups(counted, name) for name in by}
    steps = funnel(outcomes)
    return write(
        "curation.html.j2",
        out,
        name=workspace.root.name,
        drop=drop,
        links=links,
        drops=found.drops if drop is None else [drop],
        steps=steps,
        held=_held(outcomes, steps),
        stale=found.is_stale,
        reasons=[r for r in reasons if r.outcome == "rejected"],
        broken=[r for r in reasons if r.outcome != "rejected"],
        groups={name: rows for name, rows in tables.items() if rows},
        most_groups=MOST,
        modalities=_by_modality(measured),
        empty=[c.name for c in found.columns if c.name not in {m.column.name for m in measured}],
        kinds=kinds,
        clusters=[_shown(cluster, samples) for cluster in clusters],
        short_number=short_number,
    )


def _signals(found: PageData, drop: str | None) -> list[Signal]:
    """The columns that have values."""
    tallies = found.total if drop is None else found.by_drop.get(drop, {})
    total = max((t.rows for t in tallies.values()), default=0)
    measured = [
        signal(column, tallies[column.name], total, found.limits.get(column.name, ()))
        for column in found.columns
        if column.name in tallies and tallies[column.name].valid
    ]
    panels = {index: one.panel for index, one in enumerate(measured) if one.panel is not None}
    for index, drawn in zip(panels, page_histograms(list(panels.values())), strict=True):
        measured[index].histogram = drawn
    return measured


def _by_modality(measured: Sequence[Signal]) -> dict[str, list[Signal]]:
    found: dict[str, list[Signal]] = {}
    for modality in (*schema.MODALITIES, None):
        if some := [s for s in measured if s.column.part == modality]:
            found[_SEVERAL[modality]] = some
    return found


def _held(outcomes: Outcomes, steps: Sequence[FunnelStep]) -> list[tuple[int, str]]:
    """The few numbers that say how large it is."""
    if not steps:
        return []
    read = outcomes.totals().get("samples")
    delivered, kept, failed = steps[0].left, sum(outcomes.kept.values()), read.failed if read else 0
    rejected = delivered - kept - failed
    counts = (delivered, kept, rejected, failed)
    return list(zip(counts, ("delivered", "kept", "rejected", "failed"), strict=True))


def _shown(cluster: Cluster, samples: Samples) -> dict[str, Any]:
    """A cluster with its samples, each lost one with what is other than in the one that stays."""
    stands = samples.get(cluster.stands) if cluster.stands else None
    members = []
    for similarity, place in cluster.shown:
        if (lost_one := samples.get(place)) is not None:
            before = stands.facts() if stands else {}
            other = [f for name, f in lost_one.facts().items() if before.get(name) != f]
            members.append({"sample": lost_one, "similarity": similarity, "other": other})
    return {
        "kind": cluster.kind,
        "name": short(cluster.name, 80),
        "stands": stands,
        "lost": cluster.lost,
        "members": members,
    }
