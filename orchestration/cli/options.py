"""Command-line options that several commands share."""

from typing import Any

import click

# Keys of click's `Context.meta`, which a command and its group share.
CORPUS_KEY = "isotrope.corpus"
DEBUG_KEY = "isotrope.debug"


def _keep_corpus(ctx: click.Context, _: click.Parameter, value: Any) -> Any:
    ctx.meta[CORPUS_KEY] = value
    return value


def _keep_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG_KEY] = True


def example(*lines: str) -> str:
    """The end of a command's help: how it is called."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
CORPUS = click.option(
    "--corpus",
    "folder",
    default=".",
    envvar="ISOTROPE_CORPUS",
    show_default="the current folder, or ISOTROPE_CORPUS",
    help="The corpus: the folder that contains corpus.yaml.",
    callback=_keep_corpus,
)
DEBUG = click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_keep_debug,
    help="Print the full traceback of an error.",
)
LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Of messages on standard error. Default: `log_format` of corpus.yaml.",
)
