"""What is worth seeing of each table: metadata by name, read from the tables as they are."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.metadata.markdown import picture, table
from assets.metadata.signals import excluded, spread
from pipelines.reports.curation.report import PAGE
from pipelines.reports.measures import GEOMETRY, ends, listed, plain, sides
from pipelines.reports.plots import contact_sheet, fates, similarities
from pipelines.reports.retrieval_plots import ABOUT, draw
from store.tables import releases, schema
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.names import bank_table, gallery_table, vectors_table
from store.tables.releases import Release
from store.tables.stages import EVERY_DROP
from store.tables.staging import record
from store.workspace import Workspace

_MOST_RULES = 12
_MOST_LOST = 30
_MOST_PAIRS = 500


def samples(corpus: Workspace, drop: str) -> dict[str, Any]:
    """By which rules records went."""
    where = f"drop = {quote(drop)} AND stage = 'samples'"
    gone = corpus.tables.scan("ledger", schema.LEDGER, ["outcome", "rule"], where)
    return _lost(corpus, "samples", drop, zip(*gone.to_pydict().values(), strict=True))


def signals(corpus: Workspace, drop: str) -> dict[str, Any]:
    """How signals are spread, and where the policy's limits lie."""
    return spread(corpus, drop, within="signals")


def vectors(corpus: Workspace, drop: str) -> dict[str, Any]:
    """How much nearer the parts of one sample are to each other than to strangers."""
    space, columns = corpus.config.space, [f"{m}_id" for m in schema.MODALITIES]
    name = vectors_table(space)
    if not corpus.tables.exists(name):
        return {}
    paired = corpus.tables.open("samples").to_table(
        columns=columns, filter=f"drop = {quote(drop)}", limit=_MOST_PAIRS
    )
    ids = sorted({i for c in columns for i in paired[c].to_pylist() if i})
    found = corpus.tables.open(name).to_table(
        columns=["part_id", "vector"], filter=one_of("part_id", ids)
    )
    by_part = dict(zip(found["part_id"].to_pylist(), found["vector"].to_pylist(), strict=True))
    panels = {}
    for one, other in combinations(schema.MODALITIES, 2):
        places = zip(
            paired[f"{one}_id"].to_pylist(), paired[f"{other}_id"].to_pylist(), strict=True
        )
        pairs = [(by_part[a], by_part[b]) for a, b in places if a in by_part and b in by_part]
        if len(pairs) > 1:
            left, right = (np.asarray(side, np.float32) for side in zip(*pairs, strict=True))
            own, shuffled = (left * right).sum(1), (left * np.roll(right, 1, axis=0)).sum(1)
            # It is for the check to complain of vectors that are no numbers.
            panels[f"{one} and {other}"] = tuple(s[np.isfinite(s)] for s in (own, shuffled))
    if not panels:
        return {"space": space}
    rows = [(n, len(o), float(o.mean()), float(s.mean())) for n, (o, s) in panels.items()]
    heads = ("modalities", "pairs", "mean of one sample", "shuffled")
    png = similarities(panels)
    return {
        "space": space,
        "cosines": table(heads, rows),
        "picture": picture(png, "cosines of pairs"),
    }


def duplicates(corpus: Workspace) -> dict[str, Any]:
    """How many samples are lost in each kind, which drops share content, the nearest pairs."""
    found = corpus.tables.scan("duplicates", schema.DUPLICATES)
    lost = found.filter(pc.invert(found["representative"]))
    counts = Counter(lost["kind"].to_pylist())
    exact = found.filter(pc.equal(found["kind"], "exact"))
    clusters: dict[str, list[str]] = {}
    for cluster, drop in zip(exact["cluster"].to_pylist(), exact["drop"].to_pylist(), strict=True):
        clusters.setdefault(cluster, []).append(drop)
    shared = Counter(pair for drops in clusters.values() for pair in combinations(sorted(drops), 2))
    rows = [(*pair, count) for pair, count in shared.most_common(_MOST_RULES)]
    near = lost.filter(pc.not_equal(lost["kind"], "exact"))
    columns = ["kind", "drop", "id", "cluster", "similarity"]
    least = near.select(columns).sort_by([("similarity", "ascending"), ("id", "ascending")])
    pairs = [tuple(r.values()) for r in least.slice(0, _MOST_LOST).to_pylist()]
    return {
        "clusters": len(pc.unique(found["cluster"])),
        "lost": table(("kind", "samples"), sorted(counts.items())),
        "shared": table(("drop", "other drop", "samples in both"), rows),
        "least similar": table(("kind", "drop", "sample", "lost to", "similarity"), pairs),
    }


def decisions(corpus: Workspace) -> dict[str, Any]:
    """By which rules of the policy samples went, who they were, and where the limits lie."""
    gone = corpus.tables.scan("decisions", schema.DECISIONS, ["rule"], "NOT keep")
    rules = (("rejected", rule) for rule in gone["rule"].to_pylist())
    page = {"page, written by `curation`": dg.MetadataValue.path(corpus.root / PAGE)}
    lost = _lost(corpus, "decisions", EVERY_DROP, rules)
    return lost | excluded(corpus) | spread(corpus, limited=True) | page


def banks(corpus: Workspace) -> dict[str, Any]:
    """How many parts each split has, of what origin; why queries of other origin are not in it."""
    name = bank_table(corpus.config.space)
    columns = ["split", "modality", "origin"]
    found = corpus.tables.open(name).to_table(columns=[*columns, "part_id"])
    counts = found.group_by(columns).aggregate([("part_id", "count_distinct")])
    rows = sorted(zip(*counts.to_pydict().values(), strict=True))
    shown: dict[str, Any] = {"splits": table((*columns, "parts"), rows)}
    gone = ["source", "key", "rule", "value", "threshold", "error"]
    lost = corpus.tables.scan("ledger", schema.LEDGER, gone, "stage = 'banks'")
    if lost.num_rows:
        listed = lost.slice(0, _MOST_LOST).to_pylist()
        shown["lost queries"] = table(gone, [list(row.values()) for row in listed])
    return shown


def gallery(corpus: Workspace) -> dict[str, Any]:
    """How many parts each gallery shows, and the first pictures of it."""
    rows, shown = [], []
    for modality in schema.MODALITIES:
        name = gallery_table(corpus.config.space, modality)
        if corpus.tables.exists(name):
            opened = corpus.tables.open(name)
            rows.append((modality, opened.count_rows(), *_spread(corpus.tables, name)))
            if modality == "image":
                first = opened.to_table(columns=["thumbnail"], limit=48)["thumbnail"]
                shown = [png for png in first.to_pylist() if png]
    heads = ("gallery", "parts", *(f"bias, {m}" for m in schema.MODALITIES))
    found: dict[str, Any] = {"galleries": table(heads, rows)}
    if shown:
        found["picture"] = picture(contact_sheet(shown), "pictures of the gallery")
    return found


def release(corpus: Workspace) -> dict[str, Any]:
    """Figures before and after correction, and why it was chosen, direction by direction."""
    last: Release = releases.latest(corpus.tables)
    found: dict[str, Any] = {"release": last.number}
    tested_first = sorted(last.directions.values(), key=lambda d: (not d.pairs, d.method == "none"))
    for direction in tested_first:
        title = f"{direction.query} to {direction.gallery}"
        figures = last.evaluation.get(direction.name, {})
        if "raw" in figures:
            found[title] = _figures(figures, direction.method)
            shape = [(GEOMETRY[name], figures[name]) for name in GEOMETRY if name in figures]
            found[f"geometry, {title}"] = table(("geometry", "raw vectors"), shape)
            if "languages" in figures:
                found[f"languages, {title}"] = _languages(figures["languages"], direction.method)
        for what, png in draw(direction, figures).items():
            found[f"picture, {title}, {what}"] = picture(png, f"{title}: {ABOUT[what]}")
        found[f"choice, {title}"] = f"{direction.method}: {direction.reason}"
    return found


def _figures(figures: Mapping[str, Any], method: str) -> dg.MarkdownMetadataValue:
    """Every measure on both sides, with 95% intervals where there are any."""
    shown = sides(figures, method)
    heads = [f"{figures['queries']} queries", "raw"]
    heads += [f"corrected: {method}", "gain"] if len(shown) > 1 else []
    rows = []
    for measure in listed(figures):
        row = [measure.label]
        for side in shown:
            interval = figures.get("intervals", {}).get(side, {}).get(measure.key)
            row.append(_with(figures[side][measure.key], ends(interval), measure.decimal))
        if len(shown) > 1:
            gain = figures.get("gains", {}).get(measure.key)
            row.append(_with(gain["mean"], ends(gain, "+.3f"), "+.3f") if gain else "")
        rows.append(row)
    return table(heads, rows)


def _with(value: float, interval: str, form: str) -> str:
    return plain(value, form) + (f" ({interval})" if interval else "")


def _languages(told: Mapping[str, Any], method: str) -> dg.MarkdownMetadataValue:
    shown = sides(told, method)
    heads = ("language", "texts", *(f"R@10, {side}" for side in shown))
    rows: list[tuple[Any, ...]] = [
        (code, queries, *(told[side]["r@10"][code] for side in shown))
        for code, queries in told["queries"].items()
    ]
    variance = (plain(told[side]["mean_rank_variance"], ",.0f") for side in shown)
    return table(heads, [*rows, ("mean rank variance", "", *variance)])


def _lost(
    corpus: Workspace, stage: str, drop: str, gone: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    done = record(corpus.tables, stage, drop)
    if done is None:
        return {}
    rules = Counter(gone).most_common(_MOST_RULES)
    bars = [("in", done["input"], "in")]
    bars += [(rule, count, outcome) for (outcome, rule), count in rules]
    bars.append(("kept", done["kept"], "kept"))
    rows = [(rule, outcome, count) for (outcome, rule), count in rules]
    return {
        "lost": table(("rule", "outcome", "records"), rows),
        "picture": picture(fates(bars), f"what became of the {done['input']} records"),
    }


def _spread(tables: Tables, name: str) -> list[str]:
    columns = [f"bias_{m}" for m in schema.MODALITIES]
    biases: pa.Table = tables.open(name).to_table(columns=columns)
    spreads = []
    for column in columns:
        numbers = biases[column].to_numpy()
        flat = not len(numbers) or not numbers.any()
        spreads.append("none" if flat else f"{numbers.min():.3f} to {numbers.max():.3f}")
    return spreads
