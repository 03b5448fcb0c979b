"""The command bridge."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console, print_json, print_next
from orchestration.cli.options import AS_JSON, CORPUS, example
from store.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.bridge.learn import BridgeReport


@click.command(
    epilog=example("isotrope bridge local new", "isotrope bridge local new --texts more.txt")
)
@click.argument("old")
@click.argument("new")
@click.option(
    "--texts",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Further texts to learn from, one a line; they need no images.",
)
@CORPUS
@AS_JSON
def bridge(old: str, new: str, file: Path | None, folder: str, as_json: bool) -> None:
    """Learn the maps by which queries of NEW search the space OLD.

    OLD keeps its vectors: nothing is embedded again. The maps are learned from captions first, and
    from pairs where these surely gain. They are stored; what they retain is measured on test pairs.
    """
    from pipelines.bridge.learn import learn_bridges

    workspace = Workspace.open(folder)
    progress = Console(stderr=True) if as_json else console
    texts = _lines(file) if file else []
    report = learn_bridges(
        workspace, old, new, texts, lambda message: progress.print(f"  {escape(message)}")
    )
    if as_json:
        bridges = {
            m: {"map": b.name, "parts": b.parts, "reason": b.reason, "tried": b.tried}
            for m, b in report.bridges.items()
        }
        print_json(
            {
                "old": old,
                "new": new,
                "bridges": bridges,
                "directions": report.directions,
                "missing": report.missing,
                "seconds": report.seconds,
            }
        )
        return
    _print(report, old, new)
    print_next("run", folder=folder)


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file} is not UTF-8: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _print(report: "BridgeReport", old: str, new: str) -> None:
    """Print the bridges and what they retain by direction."""
    for modality, bridge in report.bridges.items():
        console.print(escape(f"{modality}: {bridge.name}, {bridge.parts:,} rows; {bridge.reason}"))
        if missing := report.missing[modality]:
            console.print(f"{modality}: {missing:,} parts have no vector in {escape(new)}")
    for name, figures in report.directions.items():
        console.print()
        title = f"{name}: {figures['queries']:,} test queries, {figures['items']:,} items"
        console.print(title, style="bold")
        console.print(_table(figures))
    console.print(f"to search {escape(old)} with these encoders, write into corpus.yaml:")
    console.print(f"  spaces: {{{old}: {{..., queries: {new}}}}}", markup=False)
    console.print(
        "`isotrope run` then refits the corrections on bridged queries; no item is embedded"
    )


def _table(figures: Mapping[str, Any]) -> Table:
    """The systems of one direction: figures, and the shares that bridged queries retain."""
    table = Table("queries", "correction", "R@1", "R@10", "MRR", "R@10 retained", pad_edge=False)
    for name in ("old", "bridged", "new"):
        if name not in figures:
            continue
        for side in ("raw", "corrected"):
            system = figures[name]
            cells = [f"{system[f'{side} {m}']['mean']:.3f}" for m in ("r@1", "r@10", "mrr")]
            share = figures["retained"].get(name, {}).get(f"{side} r@10", {})
            shown = ""
            if share.get("mean") is not None:
                shown = f"{share['mean']:.3f} ({share['low']:.3f} to {share['high']:.3f})"
            method = "none" if side == "raw" else system["method"]
            table.add_row(name, method, *cells, shown)
    return table
