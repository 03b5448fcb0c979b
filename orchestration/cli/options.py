"""Command-line options that several commands share."""

import click

CORPUS = click.option(
    "--corpus",
    "folder",
    default=".",
    envvar="ISOTROPE_CORPUS",
    show_default="the current folder, or ISOTROPE_CORPUS",
    help="The corpus: the folder that contains corpus.yaml.",
)
