"""Writes the curation pages: one over all drops, and one for each drop."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.reports.canvas import short_number
from pipelines.reports.curation.column_statistics import SampleRef
from pipelines.reports.curation.data import PageData, read_page_data
from pipelines.reports.curation.duplicates import Cluster
from pipelines.reports.curation.exclusion import GROUPS, MOST, groups
from pipelines.reports.curation.sample_cards import Cards
from pipelines.reports.curation.signal_sections import Signal, signal
from pipelines.reports.histograms import HEIGHT, WIDTH, page_histograms
from pipelines.reports.html import short, write
from pipelines.reports.outcomes import FunnelStep, Outcomes, funnel, total_by_rule, with_keys
from store import identity
from store.errors import NotFoundError
from store.tables import schema
from store.workspace import Workspace

PAGE = "reports/curation.html"  # in the corpus's folder
MOST_DROPS = 50  # drops that get a page unless one is asked for
_MOST_RULES = 40
_NAME_CHARS = 80
_TITLES = {"image": "Images", "text": "Texts", "audio": "Recordings", None: "Several parts"}


def write_curation(
    workspace: Workspace, out: Path, drop: str | None = None, by: Sequence[str] = GROUPS
) -> list[Path]:
    """Write the page over all drops and, if there are several, a page of each drop.

    Args:
        workspace: the corpus.
        out: the file of the page; pages of drops are written beside it.
        drop: write the page of this drop alone, to `out`.
        by: columns that define groups: `drop`, `source`, or text columns of `signals`.

    Returns:
        The files, that of all drops first.

    Raises:
        InputError: a column of `by` cannot define groups.
        NotFoundError: there is no such drop.
    """
    data = read_page_data(workspace, by, drop)
    if drop is not None:
        if drop not in data.drops:
            raise NotFoundError(f"no drop {drop!r} has been read; `isotrope run` reads drops")
        return [_write(workspace, data, by, out, drop, {})]
    drops = data.drops[:MOST_DROPS] if len(data.drops) > 1 else []
    paths = {name: page_of(out, name) for name in drops}
    links = {name: path.name for name, path in paths.items()}
    pages = [_write(workspace, data, by, out, None, links)]
    return pages + [_write(workspace, data, by, path, name, {}) for name, path in paths.items()]


def page_of(out: Path, drop: str) -> Path:
    """The file of a drop's page, beside that of all drops.

    A name that is not safe as a file name is made safe, with a digest that keeps it unique.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", drop)[:_NAME_CHARS]
    if safe != drop:
        safe += f"-{identity.run_key(drop)[:8]}"
    return out.with_name(f"{out.stem}-{safe}{out.suffix}")


def _write(
    workspace: Workspace,
    data: PageData,
    by: Sequence[str],
    out: Path,
    drop: str | None,
    links: dict[str, str],
) -> Path:
    outcomes = data.outcomes.of_drop(drop)
    signals = _signals(data, drop)
    kinds, clusters = data.duplicates.get(drop, ([], []))
    proposals = data.repairs.get(drop)
    repairs = proposals.shown if proposals else []
    cards = _cards(workspace, signals, clusters, [repair.sample for repair in repairs])
    counts = [c for c in data.counts if drop in (None, c.drop)]
    tables = {name: groups(counts, name) for name in by}
    steps = funnel(outcomes)
    reasons = with_keys(workspace.tables, total_by_rule(outcomes.reasons)[:_MOST_RULES])
    return write(
        "curation.html.j2",
        out,
        name=workspace.root.name,
        drop=drop,
        links=links,
        drops=data.drops if drop is None else [drop],
        steps=steps,
        sizes=_sizes(outcomes, steps),
        is_stale=data.is_stale,
        rejected=[r for r in reasons if r.outcome == "rejected"],
        failed=[r for r in reasons if r.outcome != "rejected"],
        groups={name: rows for name, rows in tables.items() if rows},
        most_groups=MOST,
        modalities=_by_modality(signals),
        empty=[c.name for c in data.columns if c.name not in {s.column.name for s in signals}],
        bars=(WIDTH, HEIGHT),
        kinds=kinds,
        clusters=[_cluster(cluster, cards) for cluster in clusters],
        proposals=proposals,
        repairs=[(repair, cards.get(repair.sample)) for repair in repairs],
        short_number=short_number,
    )


def _cards(
    workspace: Workspace,
    signals: Sequence[Signal],
    clusters: Sequence[Cluster],
    repaired: Sequence[SampleRef],
) -> Cards:
    """The cards of the page; chooses the samples that the signals show."""
    cards = Cards(workspace)
    candidates = {sample for one in signals for sample in one.candidates()}
    copies = [sample for cluster in clusters for sample in cluster.samples]
    cards.look_up(candidates.union(copies, repaired))
    modalities: dict[SampleRef, set[str]] = {}
    for one in signals:
        for sample in one.choose(cards):
            modalities.setdefault(sample, set()).update(one.drawn)
    for sample in [*copies, *repaired]:
        if cards.get(sample) is not None:
            modalities.setdefault(sample, set()).update(("image", "audio"))
    cards.draw(modalities)
    return cards


def _signals(data: PageData, drop: str | None) -> list[Signal]:
    """The columns that have values, with their histograms."""
    tallies = data.total if drop is None else data.by_drop.get(drop, {})
    samples = max((tally.rows for tally in tallies.values()), default=0)
    signals = [
        signal(column, tallies[column.name], samples, data.limits.get(column.name, ()))
        for column in data.columns
        if column.name in tallies and tallies[column.name].valid
    ]
    panels = {index: one.panel for index, one in enumerate(signals) if one.panel is not None}
    for index, drawn in zip(panels, page_histograms(list(panels.values())), strict=True):
        signals[index].histogram = drawn
    return signals


def _by_modality(signals: Sequence[Signal]) -> dict[str, list[Signal]]:
    """The signals of each modality by its title; last those that compare several."""
    groups = {
        _TITLES[modality]: [s for s in signals if s.column.part == modality]
        for modality in (*schema.MODALITIES, None)
    }
    return {title: group for title, group in groups.items() if group}


def _sizes(outcomes: Outcomes, steps: Sequence[FunnelStep]) -> list[tuple[int, str]]:
    """(number, what it counts): how large the corpus or drop is."""
    if not steps:
        return []
    read = outcomes.totals().get("samples")
    delivered, kept, failed = steps[0].left, sum(outcomes.kept.values()), read.failed if read else 0
    rejected = delivered - kept - failed
    counts = (delivered, kept, rejected, failed)
    return list(zip(counts, ("delivered", "kept", "rejected", "failed"), strict=True))


def _cluster(cluster: Cluster, cards: Cards) -> dict[str, Any]:
    """A cluster with cards; each duplicate with the facts that its representative has not."""
    representative = cards.get(cluster.representative) if cluster.representative else None
    facts = representative.facts() if representative else {}
    members = []
    for similarity, sample in cluster.shown:
        if (card := cards.get(sample)) is not None:
            different = [f for name, f in card.facts().items() if facts.get(name) != f]
            members.append({"card": card, "similarity": similarity, "different": different})
    return {
        "kind": cluster.kind,
        "name": short(cluster.name, _NAME_CHARS),
        "representative": representative,
        "lost": cluster.lost,
        "members": members,
    }
