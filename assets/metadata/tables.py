"""Dagster metadata of each table, read from the table after it was made."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.metadata.markdown import picture, table
from assets.metadata.signals import distributions, excluded
from pipelines.reports.curation.report import PAGE
from pipelines.reports.measures import GEOMETRY, ends, measures_of, plain, searched, sides
from pipelines.reports.outcomes import Outcomes, read_outcomes, total_by_rule
from pipelines.reports.plots import contact_sheet, outcome_bars, similarities
from pipelines.reports.retrieval_plots import ABOUT, draw
from store.tables import releases, schema
from store.tables.indexes import read_indexes
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.names import bank_table, gallery_table, vectors_table
from store.tables.releases import Release
from store.workspace import Workspace

_MOST_RULES = 12
_MOST_LOST = 30
_MOST_PAIRS = 500
_MOST_THUMBNAILS = 48


def samples(corpus: Workspace, drop: str) -> dict[str, Any]:
    """The rules that records were lost to."""
    return _outcomes(read_outcomes(corpus, drop), "samples")


def signals(corpus: Workspace, drop: str) -> dict[str, Any]:
    """The values of the signals, and the policy's limits."""
    return distributions(corpus, drop, within="signals")


def vectors(corpus: Workspace, drop: str) -> dict[str, Any]:
    """Cosines of the parts of one sample, and of parts of different samples."""
    space, columns = corpus.config.space, [f"{m}_id" for m in schema.MODALITIES]
    name = vectors_table(space)
    if (dataset := corpus.tables.open_or_none(name)) is None:
        return {}
    parts = corpus.tables.open("samples").to_table(
        columns=columns, filter=f"drop = {quote(drop)}", limit=_MOST_PAIRS
    )
    ids = sorted({i for c in columns for i in parts[c].to_pylist() if i})
    rows = dataset.to_table(columns=["part_id", "vector"], filter=one_of("part_id", ids))
    by_part = dict(zip(rows["part_id"].to_pylist(), rows["vector"].to_pylist(), strict=True))
    cosines = {}
    for one, other in combinations(schema.MODALITIES, 2):
        both = zip(parts[f"{one}_id"].to_pylist(), parts[f"{other}_id"].to_pylist(), strict=True)
        pairs = [(by_part[a], by_part[b]) for a, b in both if a in by_part and b in by_part]
        if len(pairs) > 1:
            left, right = (np.asarray(side, np.float32) for side in zip(*pairs, strict=True))
            own, shuffled = (left * right).sum(1), (left * np.roll(right, 1, axis=0)).sum(1)
            # NaN is reported by the check `vectors_sound`.
            cosines[f"{one} and {other}"] = tuple(s[np.isfinite(s)] for s in (own, shuffled))
    if not cosines:
        return {"space": space}
    means = [(n, len(o), float(o.mean()), float(s.mean())) for n, (o, s) in cosines.items()]
    heads = ("modalities", "pairs", "mean cosine of one sample", "mean of shuffled pairs")
    return {
        "space": space,
        "cosines": table(heads, means),
        "histograms": picture(similarities(cosines), "histograms of the cosines"),
    }


def duplicates(corpus: Workspace) -> dict[str, Any]:
    """Duplicates of each kind, drops that share samples, and the least similar duplicates."""
    rows = corpus.tables.scan("duplicates", schema.DUPLICATES)
    removed = rows.filter(pc.invert(rows["representative"]))
    counts = Counter(removed["kind"].to_pylist())
    exact = rows.filter(pc.equal(rows["kind"], "exact"))
    clusters: dict[str, list[str]] = {}
    for cluster, drop in zip(exact["cluster"].to_pylist(), exact["drop"].to_pylist(), strict=True):
        clusters.setdefault(cluster, []).append(drop)
    shared = Counter(pair for drops in clusters.values() for pair in combinations(sorted(drops), 2))
    drops = [(*pair, count) for pair, count in shared.most_common(_MOST_RULES)]
    near = removed.filter(pc.not_equal(removed["kind"], "exact"))
    columns = ["kind", "drop", "id", "cluster", "similarity"]
    ordered = near.select(columns).sort_by([("similarity", "ascending"), ("id", "ascending")])
    least = [tuple(row.values()) for row in ordered.slice(0, _MOST_LOST).to_pylist()]
    return {
        "clusters": len(pc.unique(rows["cluster"])),
        "duplicates": table(("kind", "samples"), sorted(counts.items())),
        "shared by drops": table(("drop", "other drop", "samples in both"), drops),
        "least similar": table(("kind", "drop", "sample", "duplicate of", "similarity"), least),
    }


def decisions(corpus: Workspace) -> dict[str, Any]:
    """The rules that samples were rejected by, excluded groups, and signals with limits."""
    page = {"page (written by `curation`)": dg.MetadataValue.path(corpus.root / PAGE)}
    outcomes = _outcomes(read_outcomes(corpus), "decisions")
    return outcomes | excluded(corpus) | distributions(corpus, limited=True) | page


def banks(corpus: Workspace) -> dict[str, Any]:
    """The parts of each split by origin, and the queries from files that were not taken."""
    columns = ["split", "modality", "origin"]
    rows = corpus.tables.open(bank_table(corpus.config.space)).to_table([*columns, "part_id"])
    counts = rows.group_by(columns).aggregate([("part_id", "count_distinct")])
    splits = sorted(zip(*counts.to_pydict().values(), strict=True))
    metadata: dict[str, Any] = {"splits": table((*columns, "parts"), splits)}
    heads = ["source", "key", "rule", "value", "threshold", "error"]
    lost = corpus.tables.scan("ledger", schema.LEDGER, heads, "stage = 'banks'")
    if lost.num_rows:
        entries = lost.slice(0, _MOST_LOST).to_pylist()
        metadata["rejected queries"] = table(heads, [list(entry.values()) for entry in entries])
    return metadata


def gallery(corpus: Workspace) -> dict[str, Any]:
    """The parts and biases of each gallery, and thumbnails of the first images."""
    rows, thumbnails = [], []
    for modality in schema.MODALITIES:
        name = gallery_table(corpus.config.space, modality)
        if (opened := corpus.tables.open_or_none(name)) is not None:
            rows.append((modality, opened.count_rows(), *_bias_ranges(corpus.tables, name)))
            if modality == "image":
                first = opened.to_table(columns=["thumbnail"], limit=_MOST_THUMBNAILS)["thumbnail"]
                thumbnails = [png for png in first.to_pylist() if png]
    heads = ("gallery", "parts", *(f"bias, {m} queries" for m in schema.MODALITIES))
    metadata: dict[str, Any] = {"galleries": table(heads, rows)}
    if thumbnails:
        metadata["images"] = picture(contact_sheet(thumbnails), "images of the gallery")
    return metadata


def index(corpus: Workspace) -> dict[str, Any]:
    """The index of each gallery, and the recall and time of a search by direction."""
    indexes = read_indexes(corpus.tables, corpus.config.space)
    heads = ("gallery", "type", "rows", "partitions", "MB", "build, s", "flat scan, ms")
    built = [
        (m, i.type, i.rows, i.partitions, f"{i.bytes / 1e6:.1f}", f"{i.seconds:.1f}",
         f"{i.flat_milliseconds:.1f}")
        for m, i in indexes.items()
    ]  # fmt: skip
    settings = [
        (name, p.depth, p.nprobes, p.refine, f"{p.recall:.4f}", f"{p.milliseconds:.1f}")
        for i in indexes.values()
        for name, probes in i.probes.items()
        for p in probes
    ]
    metadata: dict[str, Any] = {"indexes": table(heads, built)}
    if settings:
        search_heads = ("direction", "rows of a result", "probes", "refine", "recall", "ms")
        metadata["search"] = table(search_heads, settings)
    if notes := [(m, note) for m, i in indexes.items() for note in i.notes]:
        metadata["notes"] = table(("gallery", "note"), notes)
    return metadata


def release(corpus: Workspace) -> dict[str, Any]:
    """Measures before and after correction, and why it was chosen, by direction."""
    last: Release = releases.latest_release(corpus.tables, corpus.config.space)
    metadata: dict[str, Any] = {"release": last.number}
    tested_first = sorted(last.directions.values(), key=lambda d: (not d.pairs, d.method == "none"))
    for direction in tested_first:
        title = f"{direction.query} to {direction.gallery}"
        figures = last.evaluation.get(direction.name, {})
        if "raw" in figures:
            metadata[title] = _measures(figures, direction.method)
            geometry = [(GEOMETRY[name], figures[name]) for name in GEOMETRY if name in figures]
            metadata[f"searched, {title}"] = searched(figures)
            metadata[f"geometry, {title}"] = table(("geometry", "raw vectors"), geometry)
            if "languages" in figures:
                metadata[f"languages, {title}"] = _languages(figures["languages"], direction.method)
        for name, png in draw(direction, figures).items():
            metadata[f"{name}, {title}"] = picture(png, f"{title}: {ABOUT[name]}")
        metadata[f"choice, {title}"] = f"{direction.method}: {direction.reason}"
    return metadata


def _measures(figures: Mapping[str, Any], method: str) -> dg.MarkdownMetadataValue:
    """Every measure, raw and corrected, with 95% intervals if there are any."""
    compared = sides(figures, method)
    heads = [f"{figures['queries']} queries", "raw"]
    heads += [f"corrected: {method}", "gain"] if len(compared) > 1 else []
    rows = []
    for measure in measures_of(figures):
        row = [measure.label]
        for side in compared:
            interval = figures.get("intervals", {}).get(side, {}).get(measure.key)
            row.append(_with(figures[side][measure.key], ends(interval), measure.decimal))
        if len(compared) > 1:
            gain = figures.get("gains", {}).get(measure.key)
            row.append(_with(gain["mean"], ends(gain, "+.3f"), "+.3f") if gain else "")
        rows.append(row)
    return table(heads, rows)


def _with(value: float, interval: str, form: str) -> str:
    return plain(value, form) + (f" ({interval})" if interval else "")


def _languages(languages: Mapping[str, Any], method: str) -> dg.MarkdownMetadataValue:
    """R@10 of the same texts in several languages."""
    compared = sides(languages, method)
    heads = ("language", "texts", *(f"R@10, {side}" for side in compared))
    rows: list[tuple[Any, ...]] = [
        (code, queries, *(languages[side]["r@10"][code] for side in compared))
        for code, queries in languages["queries"].items()
    ]
    variance = (plain(languages[side]["mean_rank_variance"], ",.0f") for side in compared)
    return table(heads, [*rows, ("mean rank variance", "", *variance)])


def _outcomes(outcomes: Outcomes, stage: str) -> dict[str, Any]:
    """The rules of a stage that records were lost to, as a table and as bars."""
    counts = outcomes.totals().get(stage)
    if counts is None:
        return {}
    totals = total_by_rule(r for r in outcomes.reasons if r.stage == stage)[:_MOST_RULES]
    bars = [("in", counts.input, "in")]
    bars += [(total.rule, total.records, total.outcome) for total in totals]
    bars.append(("kept", counts.kept, "kept"))
    rows = [(total.rule, total.outcome, total.records) for total in totals]
    alt = f"{counts.input} records: kept, and lost by rule"
    return {
        "lost": table(("rule", "outcome", "records"), rows),
        "outcomes": picture(outcome_bars(bars), alt),
    }


def _bias_ranges(tables: Tables, name: str) -> list[str]:
    """The range of a gallery's bias for each modality of queries; "none" if all are 0."""
    columns = [f"bias_{m}" for m in schema.MODALITIES]
    biases: pa.Table = tables.open(name).to_table(columns=columns)
    ranges = []
    for column in columns:
        values = biases[column].to_numpy()
        is_zero = not len(values) or not values.any()
        ranges.append("none" if is_zero else f"{values.min():.3f} to {values.max():.3f}")
    return ranges
