"""The terminal that every command prints to."""

import json
import shlex
from typing import Any

import click
from rich.console import Console

from orchestration import json_logs

console = Console()


def print_json(value: Any) -> None:
    """Print a value as JSON. Dates become text."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_next(*commands: str, folder: str | None = None) -> None:
    """Print which commands are useful next, to stderr, so that pipes get the output alone.

    Where logs are JSON lines, no person reads them, and nothing is printed.

    Args:
        commands: without the name of the program, such as "run".
        folder: of the corpus, as it was given. None: the commands name it where they need it.
    """
    if json_logs.is_configured():
        return
    corpus = "" if folder in (None, ".") else f" --corpus {shlex.quote(str(folder))}"
    lines = [f"isotrope {command}{corpus}" for command in commands]
    click.echo(f"next: {', or '.join(lines)}", err=True)
