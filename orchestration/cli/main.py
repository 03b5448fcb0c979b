"""The command line. Errors that isotrope raises on purpose are printed, never as a traceback."""

import sys
from typing import Any

import click

from orchestration.cli.export_command import export
from orchestration.cli.make_commands import align, init, run
from orchestration.cli.page_commands import demo, dev, report
from orchestration.cli.policy_commands import policy, whatif
from orchestration.cli.search_commands import drift, evaluate, search, why
from store.errors import IsotropeError


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except IsotropeError as error:
            click.secho("error: ", fg="red", bold=True, err=True, nl=False)
            click.echo(str(error), err=True)
            ctx.exit(1)


@click.group(cls=_Group)
@click.version_option(package_name="isotrope")
def main() -> None:
    """Curate image-text-audio corpora and search them in a space without hubs."""


for command in (
    init, run, align, search, evaluate, drift, why, report, dev, demo, export, policy, whatif
):  # fmt: skip
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="isotrope", args=sys.argv[1:])
