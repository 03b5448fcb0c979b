"""Commands about the policy: policy, whatif."""

from dataclasses import asdict

import click
import yaml

from orchestration.cli.console import print_json, print_next
from orchestration.cli.options import CORPUS, example
from store.workspace import Workspace


@click.command(epilog=example("isotrope whatif --set image_min_side.min=256 --by text_language"))
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one rule: image_min_side.min=256, image_aesthetic.keep_top=0.3,"
    " caps.text_language=1000. Can be repeated.",
)
@click.option("--preset", help="Start from this preset instead of the present policy.")
@click.option(
    "--by",
    default="drop",
    show_default=True,
    help="Count the kept samples by this: drop, source or text_language.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@CORPUS
def whatif(
    settings: tuple[str, ...], preset: str | None, by: str, as_json: bool, folder: str
) -> None:
    """Count the samples that another policy would keep.

    No model runs and no table is changed.
    """
    from orchestration.cli import tables
    from pipelines.engine.memory import retain_freed_memory
    from pipelines.policy.whatif import compare_policies

    retain_freed_memory()
    comparison = compare_policies(Workspace.open(folder), settings, preset, by)
    if as_json:
        print_json(asdict(comparison))
    else:
        tables.print_comparison(comparison)
        click.echo("to keep these, write the change into corpus.yaml", err=True)
        print_next("run", folder=folder)


@click.command(epilog=example("isotrope policy --corpus corpus"))
@CORPUS
def policy(folder: str) -> None:
    """Print the policy of corpus.yaml with its presets written out."""
    written = Workspace.open(folder).config.policy.written()
    click.echo(yaml.safe_dump(written, sort_keys=False, default_flow_style=None), nl=False)
    print_next("whatif --set image_min_side.min=256", folder=folder)
