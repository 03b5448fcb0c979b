"""The command migrate."""

from dataclasses import asdict

import click

from orchestration.cli.console import console, print_json
from orchestration.cli.options import AS_JSON, CORPUS, example
from store.workspace import Workspace


@click.command(epilog=example("isotrope migrate new --parts 10000"))
@click.argument("new")
@click.option(
    "--parts",
    "most",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="The most items of each modality to embed now.",
)
@CORPUS
@AS_JSON
def migrate(new: str, most: int, folder: str, as_json: bool) -> None:
    """Embed some more items in the newer space NEW.

    Its encoders search the older space by a bridge so far. Nothing that is searched changes. Run it
    by a schedule, until no item is left: then NEW can become the space of the corpus, and nothing
    has to be embedded for that.
    """
    from pipelines.bridge.migrate import migrate as migrate_items

    migrated = migrate_items(Workspace.open(folder), new, most)
    left = sum(each.left - each.failed for each in migrated.values())
    if as_json:
        print_json({"modalities": {m: asdict(each) for m, each in migrated.items()}, "left": left})
        return
    for modality, each in migrated.items():
        console.print(f"{modality}: {each.made:,} embedded in {new}, {each.left:,} left")
        if each.failed:
            console.print(f"{modality}: {each.failed:,} failed: {each.error}", markup=False)
    if left:
        console.print(f"next: isotrope migrate {new}, until no item is left")
    else:
        console.print(f"all is embedded: move {new} from `query_spaces:` to `spaces:`, and write")
        console.print(f"  space: {new}", markup=False)
        console.print("`isotrope run` then makes its galleries and release")
