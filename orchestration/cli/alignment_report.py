"""Print what `isotrope align` has learned, how that was chosen, and what more pairs would give."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from orchestration.cli.console import console
from pipelines.reports.measures import plain
from pipelines.vectors.grow import GrownStep
from store.tables.projections import LearnedProjection


def print_alignment(learned: Sequence[LearnedProjection]) -> None:
    """Print how well projections retrieve the pairs held out from training, and chance."""
    table = Table("projection", "direction", "pairs", "held out", "R@1", "R@10", "R@10 by chance")
    for column in table.columns[2:]:
        column.justify = "right"
    for projection in learned:
        held_out = projection.figures["validation_pairs"]
        pairs = projection.figures["pairs"]
        for direction, figures in projection.figures.items():
            if "->" in direction and projection.modality in direction.split("->"):
                recalls = (f"{figures[name]:.3f}" for name in ("r@1", "r@10"))
                counts = f"{pairs:,}", f"{held_out:,}"
                chance = f"{10 / held_out:.3f}"
                table.add_row(projection.modality, direction, *counts, *recalls, chance)
    console.print(table)
    for projection in learned:
        if curve := projection.figures.get("learning_curve"):
            _print_methods(projection.modality, projection.figures["methods"])
            _print_curve(projection.modality, curve)
    for projection in learned:
        wrong = projection.figures.get("mismatched_pairs")
        if wrong is not None:
            total = projection.figures["pairs"] + projection.figures["validation_pairs"]
            console.print(
                f"{projection.modality}: {wrong:,.0f} of {total:,} pairs are probably mismatched,"
                " and weigh little"
            )


def print_growth(steps: Sequence[GrownStep]) -> None:
    """Print how heads that have grown compare with what they were."""
    table = Table(
        "projection", "held-out pairs of", "pairs", "R@1", "then", "MRR", "then", "change"
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for step in steps:
        for name, each in (("known drops", step.old), ("new drops", step.new)):
            values = (plain(v) for pair in zip(each.before, each.after, strict=True) for v in pair)
            change = f"{plain(each.low, '+.3f')} to {plain(each.high, '+.3f')}"
            table.add_row(" and ".join(step.modalities), name, f"{each.pairs:,}", *values, change)
    if steps:
        console.print(table)
    for step in steps:
        drops, names = f"{len(step.drops):,} new drops", " and ".join(step.modalities)
        if step.adopted:
            console.print(f"{names}: learned from {drops}; `isotrope run` projects vectors anew")
        else:
            console.print(
                f"{names}: not adopted, since it surely loses on the known drops; --force adopts"
                " it, and `isotrope align` learns anew from all drops"
            )


def _print_methods(modality: str, methods: Sequence[Mapping[str, Any]]) -> None:
    """Print what cross-validation compared."""
    table = Table(f"{modality} by cross-validation", "MRR", "standard error", "")
    for tried in methods:
        used = "used: the simplest within one error of the best" if tried["chosen"] else ""
        table.add_row(tried["name"], plain(tried["mrr"]), plain(tried["error"]), used)
    console.print(table)


def _print_curve(modality: str, curve: Mapping[str, Any]) -> None:
    """Print the recall with growing numbers of pairs, and what twice as many would give."""
    table = Table(f"pairs of {modality}", "R@1 of other pairs", "standard error")
    for point in curve["points"]:
        table.add_row(f"{point['pairs']:,}", plain(point["recall"]), plain(point["error"]))
    console.print(table)
    if curve["gain"] is None:
        console.print("too few pairs to say what more of them would give")
        return
    interval = f"{plain(curve['low'], '+.3f')} to {plain(curve['high'], '+.3f')}"
    console.print(f"twice the pairs would give about {plain(curve['gain'], '+.3f')} ({interval})")
