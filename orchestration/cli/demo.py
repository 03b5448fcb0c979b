"""The demonstration: from raw files to corrected search in one command; and the corpus report."""

import sys
from pathlib import Path

import isotrope
from orchestration.cli import tables
from orchestration.cli.console import console, print_next
from orchestration.cli.make_commands import materialise
from pipelines.demo_corpus import build
from pipelines.reports.corpus_report import Search, write_report
from store.config.corpus_yaml import FILE
from store.search.corpus import Corpus
from store.search.search import Search as Hits
from store.tables.releases import latest_release
from store.workspace import Workspace

CORPUS = """\
# The demonstration corpus: clip-art stamps with captions and sounds, as WebDataset shards.
sources:
  demo: {path: drops}
"""
TEXT = "a striped cat"
# Keys of images to search with; the first one that the corpus has is taken.
SUBJECTS = ("animals/mammals/cats/tiger", "animals/birds/owl", "vehicles/emergency/firetruck")


def demonstrate(folder: Path) -> None:
    """Build the data and corpus.yaml if they are missing, run, search, and write the report."""
    folder.mkdir(parents=True, exist_ok=True)
    drop = build.build(folder / "drops", folder / "cache", _print_progress)
    if not (folder / FILE).exists():
        (folder / FILE).write_text(CORPUS, encoding="utf-8")
    if drop.name != "stamps":
        message = f"the Debian packages of the stamps are missing; the data is {drop.name}"
        console.print(f"[yellow]{message}[/yellow]")
    workspace = Workspace.open(folder)
    materialise(workspace)
    corpus = isotrope.open_corpus(folder)
    for title, query, _ in _queries(workspace, corpus):
        console.print(f"\n[bold]{title}[/bold]")
        query.limit(5).show()
    console.print()
    tables.print_gains(latest_release(workspace.tables, main=workspace.config.space))
    page = write_page(workspace, folder / "report.html")
    console.print(f"\nreport: {page}")
    print_next('search "a red flower"', "open explorer", folder=str(folder))


def write_page(workspace: Workspace, out: Path) -> Path:
    """Write the report of a corpus, with an example search of each kind that it allows."""
    corpus = isotrope.open_corpus(workspace.root)
    searches = []
    for title, query, thumbnail in _queries(workspace, corpus):
        result = query.select("key", "caption", "thumbnail").run()
        searches.append(
            Search(
                title=title,
                query_text=None if thumbnail else TEXT,
                query_image=thumbnail,
                rows=result.rows.to_pylist(),
                method=_method(corpus, query),
                complete=result.complete,
            )
        )
    return write_report(workspace, out, searches)


def _queries(workspace: Workspace, corpus: Corpus) -> list[tuple[str, Hits, bytes | None]]:
    """(title, query, thumbnail of the query) of searches by text and by image."""
    queries: list[tuple[str, Hits, bytes | None]] = [
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
    """(key, image, thumbnail) of an image of the corpus to search with."""
    gallery = corpus.gallery_dataset("image")
    cards = gallery.to_table(columns=["key", "id", "part_id", "thumbnail"])
    rows = {row["key"]: row for row in cards.to_pylist() if row["thumbnail"]}
    if not rows:
        return None
    key = next((k for k in SUBJECTS if k in rows), min(rows))
    samples = workspace.tables.open("samples")
    images = samples.to_table(columns=["image"], filter=f"image_id = '{rows[key]['part_id']}'")
    return key, images["image"][0].as_py(), rows[key]["thumbnail"]


def _method(corpus: Corpus, query: Hits) -> str:
    """The corrections of the query's directions."""
    names = [f"{i.modality}->{query.gallery}" for i in query.inputs[0]]
    directions = [corpus.release.directions.get(name) for name in names]
    return ", ".join(sorted({d.method for d in directions if d is not None})) or "none"


def _print_progress(message: str) -> None:
    """Print the progress of the build: on a terminal, one line that is overwritten."""
    if sys.stdout.isatty():
        console.print(message, end="\r", overflow="ellipsis", no_wrap=True)
    elif not message.endswith("stamps") or message.split()[0] == message.split()[2]:
        console.print(message)
