"""The entry point of the command line. An `IsotropeError` is printed without a traceback."""

import sys
from typing import Any

import click

from orchestration.cli.export_command import export
from orchestration.cli.make_commands import align, init, run
from orchestration.cli.page_commands import demo, dev, report
from orchestration.cli.policy_commands import policy, whatif
from orchestration.cli.search_commands import drift, evaluate, search, why
from orchestration.cli.table_commands import check, maintain
from store.errors import IsotropeError


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except IsotropeError as error:
            click.secho("error: ", fg="red", bold=True, err=True, nl=False)
            click.echo(str(error), err=True)
            ctx.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a corpus's life, instead of the alphabet's."""
        return list(self.commands)


@click.group(cls=_Group)
@click.version_option(package_name="isotrope")
def main() -> None:
    """Curate image, text and audio corpora, and search them with hubness corrections.

    Start with `isotrope init`, or try `isotrope demo`.
    """


for command in (
    init, run, why, report, policy, whatif, search, evaluate, drift, align, export, check, maintain,
    dev, demo
):  # fmt: skip
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="isotrope", args=sys.argv[1:])
