"""The command layers."""

from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console, print_json, print_next
from orchestration.cli.options import AS_JSON, CORPUS, example
from store.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.vectors.layers import ComparedLayers


@click.command(epilog=example("isotrope layers --space mine"))
@click.option("--space", help="The space. Default: the main one, `space:` of corpus.yaml.")
@click.option("--pairs", default=1000, show_default=True, help="How many pairs are encoded.")
@CORPUS
@AS_JSON
def layers(space: str | None, pairs: int, folder: str, as_json: bool) -> None:
    """Compare the layers of the encoders that a space aligns.

    For each layer, the share of a pair's nearest neighbours that it has in common with the encoder
    on the other side. Write one of the best into corpus.yaml, as `encoder: NAME?layer=N`, before
    `isotrope align`, and compare the recall that it prints.
    """
    from pipelines.vectors.layers import compare_layers

    compared = compare_layers(Workspace.open(folder).of_space(space), pairs)
    if as_json:
        print_json(
            [
                {
                    "modality": each.modality,
                    "aligned_by": each.anchor,
                    "encoders": each.specs,
                    "other_encoders": each.anchor_specs,
                    "mutual_neighbours": each.shares.round(4).tolist(),
                    "by_chance": round(each.chance, 4),
                    "pairs": each.pairs,
                    "best": each.best,
                }
                for each in compared
            ]
        )
        return
    for each in compared:
        _print(each)
    print_next("align", folder=folder)


def _print(compared: "ComparedLayers") -> None:
    """Print a table of one tower: a row for each of its layers."""
    columns = [f"{compared.anchor} {_name(spec)}" for spec in compared.anchor_specs]
    table = Table(f"{compared.modality}, layer", *columns)
    for column in table.columns[1:]:
        column.justify = "right"
    best = compared.best
    for spec, shares in zip(compared.specs, compared.shares, strict=True):
        cells = [
            f"[bold]{share:.3f}[/bold]" if (spec, other) == best else f"{share:.3f}"
            for other, share in zip(compared.anchor_specs, shares, strict=True)
        ]
        table.add_row(_name(spec), *cells)
    console.print(table)
    console.print(
        f"shares of 10 nearest neighbours in common, {compared.pairs:,} pairs; by chance"
        f" {compared.chance:.3f}"
    )
    named = zip((compared.modality, compared.anchor), best, strict=True)
    shown = ", ".join(f"{modality}: {escape(spec)}" for modality, spec in named)
    console.print(f"most alike: {shown}")


def _name(spec: str) -> str:
    """The number of a layer, or that the spec names the encoder's own vectors."""
    from embedders.registry import parse_spec

    return parse_spec(spec).options.get("layer", "output")
