"""`isotrope policy` and `isotrope whatif`: what is kept, and what would be."""

import json
from dataclasses import asdict

import click
import yaml
from rich.console import Console

from orchestration.cli.options import CORPUS
from store.workspace import Workspace


@click.command()
@click.option(
    "--set",
    "settings",
    multiple=True,
    help="Such as image_min_side.min=256, image_aesthetic.keep_top=0.3 or caps.text_language=1000.",
)
@click.option("--preset", help="Begin with this preset instead of today's policy.")
@click.option("--by", default="drop", show_default=True, help="Count by it: text_language, source.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@CORPUS
def whatif(
    settings: tuple[str, ...], preset: str | None, by: str, as_json: bool, folder: str
) -> None:
    """How many samples another policy would keep. Nothing is written, no model runs."""
    from orchestration.cli import tables
    from pipelines.engine.memory import keep_all
    from pipelines.policy.whatif import compare

    keep_all()
    found = compare(Workspace.open(folder), settings, preset, by)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False, indent=2))
    else:
        tables.comparison(Console(), found)


@click.command()
@CORPUS
def policy(folder: str) -> None:
    """The policy of corpus.yaml, its presets spelled out."""
    written = Workspace.open(folder).config.policy.written()
    click.echo(yaml.safe_dump(written, sort_keys=False, default_flow_style=None), nl=False)
