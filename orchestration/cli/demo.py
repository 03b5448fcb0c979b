"""The demonstration: a corpus of stamps from raw files to corrected search, in one command."""

import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

import isotrope
from orchestration.cli import tables
from pipelines.demo_corpus import build
from pipelines.reports.corpus_report import Search, write_report
from store.config.corpus_yaml import FILE
from store.search.corpus import Corpus
from store.search.query import Query
from store.tables.releases import latest
from store.workspace import Workspace

CORPUS = """\
# The demonstration corpus: clip-art stamps with captions and sounds, as WebDataset shards.
sources:
  demo: {path: drops}
"""
TEXT = "a striped cat"
SUBJECTS = ("animals/mammals/cats/tiger", "animals/birds/owl", "vehicles/emergency/firetruck")


def demonstrate(folder: Path, console: Console) -> None:
    """Build FOLDER's drop and corpus.yaml where they are missing, run, search, write the page."""
    from orchestration.cli.make_commands import materialise

    folder.mkdir(parents=True, exist_ok=True)
    drop = build.build(folder / "drops", folder / "cache", _say(console))
    if not (folder / FILE).exists():
        (folder / FILE).write_text(CORPUS, encoding="utf-8")
    if drop.name != "stamps":
        console.print(f"[yellow]no Debian packages here: the corpus is {drop.name}[/yellow]")
    workspace = Workspace.open(folder)
    materialise(workspace)
    corpus = isotrope.connect(folder)
    for title, query, _ in _queries(workspace, corpus):
        console.print(f"\n[bold]{title}[/bold]")
        query.limit(5).show()
    console.print()
    release = latest(workspace.tables)
    tables.gains(console, release)
    page = write_page(workspace, folder / "report.html")
    console.print(f"\nthe page of pictures: {page}")
    console.print(f'try: isotrope search "a red flower" --corpus {folder}')


def write_page(workspace: Workspace, out: Path) -> Path:
    """The report of a corpus, with a search of each kind that it allows."""
    corpus = isotrope.connect(workspace.root)
    searches = []
    for title, query, picture in _queries(workspace, corpus):
        result = query.select("key", "caption", "thumbnail").run()
        searches.append(
            Search(
                title=title,
                query_text=None if picture else TEXT,
                query_image=picture,
                rows=result.rows.to_pylist(),
                method=_method(corpus, query),
                complete=result.complete,
            )
        )
    return write_report(workspace, out, searches)


def _queries(workspace: Workspace, corpus: Corpus) -> list[tuple[str, Query, bytes | None]]:
    """Text to image, image to text, image to image, each with the thumbnail that is asked by."""
    queries: list[tuple[str, Query, bytes | None]] = [
        (f'text to image: "{TEXT}"', corpus.search(text=TEXT).among("image"), None)
    ]
    subject = _subject(workspace, corpus)
    if subject is not None:
        key, image, thumbnail = subject
        queries += [
            (f"image to text: {key}", corpus.search(image=image).among("text"), thumbnail),
            (f"image to image: {key}", corpus.search(image=image).among("image"), thumbnail),
        ]
    return queries


def _subject(workspace: Workspace, corpus: Corpus) -> tuple[str, bytes, bytes] | None:
    """A picture of the corpus to ask with: one of the well-known ones, else the first."""
    gallery = corpus.gallery("image")
    shown = gallery.to_lance().to_table(columns=["key", "id", "part_id", "thumbnail"])
    rows = {row["key"]: row for row in shown.to_pylist() if row["thumbnail"]}
    if not rows:
        return None
    key = next((k for k in SUBJECTS if k in rows), min(rows))
    samples = workspace.tables.open("samples")
    found = samples.to_table(columns=["image"], filter=f"image_id = '{rows[key]['part_id']}'")
    return key, found["image"][0].as_py(), rows[key]["thumbnail"]


def _method(corpus: Corpus, query: Query) -> str:
    ways = [corpus.release.directions.get(f"{m}->{query.gallery}") for m in query.inputs]
    return ", ".join(sorted({w.method for w in ways if w is not None})) or "none"


def _say(console: Console) -> Callable[[str], None]:
    """Progress of the corpus's making: a line that is written over, on a terminal."""

    def say(message: str) -> None:
        if sys.stdout.isatty():
            console.print(message, end="\r", overflow="ellipsis", no_wrap=True)
        elif not message.endswith("stamps") or message.split()[0] == message.split()[2]:
            console.print(message)

    return say
