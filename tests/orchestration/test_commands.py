"""What holds for all commands: an example in the help, JSON for tables, what is useful next."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestration.cli.main import main
from pipelines.sources import drops
from store.config.sources import Documents, Videos
from store.workspace import Workspace
from tests.helpers import pdfs, videos
from tests.helpers.corpus import deliver
from tests.orchestration.test_cli import isotrope
from tests.test_examples import check_isotrope

SCRIPT = Path(sys.executable).parent / "isotrope"


def commands(group: click.Group = main, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command, such as ("drop", "list")."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_of_a_command_has_an_example(words: tuple[str, ...]) -> None:
    text = isotrope(*words, "--help").partition("Example:\n")[2]
    lines = [line.strip() for line in text.splitlines()]
    assert lines
    for line in lines:
        typed = [word for word in shlex.split(line) if not word.startswith("DAGSTER_HOME=")]
        assert typed[0] == "isotrope"
        assert typed[1] == words[0]
        check_isotrope(typed[1:])


def test_init_proposes_to_read_documents_and_videos(tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "paper.pdf").write_bytes(pdfs.document([[pdfs.Words(72, 700, "On squares.")]]))
    (folder / "clip.mp4").write_bytes(videos.video([(200, 30, 30)] * 4, tone=True))
    found = json.loads(isotrope("init", tmp_path / "corpus", "--from", folder, "--json"))
    assert found["drops"] == {"papers": 3}
    assert found["survey"]["parts"] == {"image": 3, "audio": 2, "text": 1, "caption": 1}
    source = Workspace.open(tmp_path / "corpus").config.sources["papers"]
    assert (source.documents, source.videos) == (Documents(), Videos())


def test_init_names_the_package_that_documents_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drops, "find_spec", lambda name: None)
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "paper.pdf").write_bytes(b"%PDF-1.7")
    arguments = ("init", tmp_path / "corpus", "--from", folder)
    assert "pip install 'isotrope[documents]'" in isotrope(*arguments, fails=True)
    (folder / "photo.txt").write_text("a photo")
    isotrope(*arguments)  # there is something else to read
    text = (tmp_path / "corpus" / "corpus.yaml").read_text()
    assert "# documents: {}" in text


@pytest.mark.parametrize(
    "words", ["status", "estimate", "why red-0000", "drop list", "drift", "evaluate", "check"]
)
def test_tables_are_printed_as_json_too(squares: Workspace, words: str) -> None:
    assert json.loads(isotrope(*words.split(), "--json", "--corpus", squares.root)) is not None


def test_commands_that_change_tables_print_json(tmp_path: Path, squares: Workspace) -> None:
    corpus = ("--json", "--corpus", shutil.copytree(squares.root, tmp_path / "squares"))
    done = json.loads(isotrope("run", *corpus))
    assert done["made"] == []
    assert {"stage": "samples", "kept": 120}.items() <= next(
        row for row in done["stages"] if row["drop"] == "second"
    ).items()
    assert json.loads(isotrope("maintain", *corpus))["tables"]
    assert json.loads(isotrope("repair", *corpus))["tables"] == []


def test_init_prints_json(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 3)
    words = ("init", tmp_path / "corpus", "--from", tmp_path / "photos", "--json")
    found = json.loads(isotrope(*words))
    assert found["drops"] == {"photos": 3}
    assert found["survey"]["parts"]["image"] == 3


@pytest.mark.parametrize(
    ("words", "following"),
    [
        ("status", "isotrope open explorer --corpus "),
        ("policy", "isotrope whatif --set image_min_side.min=256 --corpus "),
        ("whatif --set image_min_side.min=20", "isotrope run --corpus "),
        ("check", "isotrope status --corpus "),
        ("why broken", "isotrope policy --corpus "),
        ("drop list", "isotrope run --corpus "),
        ("evaluate", "isotrope report --corpus "),
    ],
)
def test_a_command_ends_with_what_is_next(squares: Workspace, words: str, following: str) -> None:
    last = isotrope(*words.split(), "--corpus", squares.root).splitlines()[-1]
    assert last.startswith("next: isotrope ")
    assert f"{following}{squares.root}" in last
    for line in last.removeprefix("next: ").split(" or "):
        check_isotrope(line.split()[1:])


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("st", "status"), ("open rep", "report"), ("search --cor", "--corpus"), ("drop l", "list")],
)
def test_the_shell_completes(typed: str, completed: str) -> None:
    words = ["isotrope", *typed.split()]
    environment = {
        "_ISOTROPE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [SCRIPT], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert f"plain,{completed}" in done.stdout.splitlines()


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of a web browser: it writes the address that it opens to a file."""
    script, opened = tmp_path / "browser", tmp_path / "opened"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.new && mv {opened}.new {opened}\n')
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{script} %s")
    return opened


def test_open_report_writes_the_report(browser: Path, stored: Workspace, tmp_path: Path) -> None:
    root = shutil.copytree(stored.root, tmp_path / "a corpus")
    command = [SCRIPT, "open", "report", "--corpus", root]
    subprocess.run(command, check=True, capture_output=True)
    assert "<html" in (root / "report.html").read_text()
    assert browser.read_text() == (root / "report.html").as_uri()


def test_open_explorer_serves_it_until_it_is_stopped(browser: Path, stored: Workspace) -> None:
    command = [SCRIPT, "open", "--corpus", stored.root]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        while not browser.exists() and time.monotonic() < end:
            time.sleep(0.1)
        assert browser.read_text().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert not [each for each in browser.parent.iterdir() if each.name.endswith(".new")]
