"""The command line.

Errors that isotrope raises on purpose are printed in red. For all others, see `last_resort`.
"""

import errno
import logging
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from orchestration.cli.options import CORPUS_KEY, DEBUG, DEBUG_KEY
from store.errors import IsotropeError

_INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended

# The module of each command, in the order of a corpus's life. A module is imported when its command
# is used, so that a command starts without the packages of the others.
_MODULES = {
    "init": "make_commands",
    "run": "make_commands",
    "status": "status_command",
    "estimate": "estimate_command",
    "why": "search_commands",
    "report": "page_commands",
    "policy": "policy_commands",
    "whatif": "policy_commands",
    "search": "search_commands",
    "suggest": "suggest_command",
    "evaluate": "evaluate_commands",
    "drift": "evaluate_commands",
    "align": "make_commands",
    "layers": "layers_command",
    "bridge": "bridge_command",
    "migrate": "migrate_command",
    "export": "export_command",
    "drop": "drop_commands",
    "check": "table_commands",
    "maintain": "table_commands",
    "serve": "server_commands",
    "open": "open_command",
    "mcp": "server_commands",
    "repair": "repair_command",
    "backup": "backup_commands",
    "restore": "backup_commands",
    "takedown": "takedown_command",
    "dev": "page_commands",
    "dagster": "page_commands",
    "demo": "page_commands",
}


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, SystemExit, GeneratorExit):
            raise
        except (KeyboardInterrupt, click.Abort) as error:
            _print_traceback(ctx, error)
            click.echo("interrupted; the next run continues where this one stopped", err=True)
            ctx.exit(_INTERRUPTED)
        except IsotropeError as error:
            _print_traceback(ctx, error)
            _print_error(str(error))
            ctx.exit(1)
        except BaseException as error:  # a panic in Rust code is not an Exception
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # click handles it: the reader of the output went away
            _fail(ctx, error)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a corpus's life, instead of the alphabet's."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command. None: there is no such command."""
        if name not in _MODULES:
            return None
        if name not in self.commands:
            module = import_module(f"orchestration.cli.{_MODULES[name]}")
            self.add_command(DEBUG(getattr(module, name)))
        return self.commands[name]


def _fail(ctx: click.Context, error: BaseException) -> NoReturn:
    from orchestration.cli import last_resort

    command = ctx.invoked_subcommand or ""
    log = last_resort.write_log(error, command, ctx.meta.get(CORPUS_KEY))
    _print_traceback(ctx, error)
    _print_error(last_resort.describe(error))
    if log:
        click.echo(f"the full traceback is in {log}; --debug prints it", err=True)
    else:
        click.echo("no log file could be written; --debug prints the full traceback", err=True)
    ctx.exit(1)


def _print_error(message: str) -> None:
    from orchestration import json_logs

    if json_logs.is_configured():
        logging.getLogger("isotrope").error(message)
        return
    click.secho("error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(message, err=True)


def _print_traceback(ctx: click.Context, error: BaseException) -> None:
    if ctx.meta.get(DEBUG_KEY):
        from orchestration.cli import last_resort

        click.echo(last_resort.full_traceback(error), err=True)


@click.group(cls=_Group)
@click.version_option(package_name="isotrope")
@DEBUG
def main() -> None:
    """Curate image, text and audio corpora, and search them with hubness corrections.

    Start with `isotrope init`, or try `isotrope demo`.
    """


if __name__ == "__main__":
    main(prog_name="isotrope", args=sys.argv[1:])
