"""Errors of the first hour, on the real command line: one or two lines, and what would be right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.corpus import COLOURS, deliver, picture

pytestmark = pytest.mark.slow  # each command is a process
SCRIPT = Path(sys.executable).parent / "isotrope"


def run(*words: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in (SCRIPT, *words)]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def error(*words: object, folder: Path, **environment: str) -> str:
    """What a command that fails prints to stderr."""
    done = run(*words, folder=folder, **environment)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    return done.stderr


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    deliver(tmp_path / "photos", 2)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("init new --from missing", "missing is not a folder"),
        ("init new --from photos/red-0000.png", "is not a folder"),
        ("init photos/red-0000.png --from photos", "is a file: give a folder"),
        ("init new --from foo://data", "use a protocol that fsspec supports"),
        ("run --corpus missing", "no corpus.yaml in"),
        ("search cat --corpus photos", "holds neither corpus.yaml nor tables"),
        ("open report --corpus missing", "no corpus.yaml in"),
    ],
)
def test_a_wrong_path(photos: Path, words: str, message: str) -> None:
    assert message in error(*words.split(), folder=photos)
    assert not (photos / "new").exists()


def test_one_picture_without_a_caption(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "cat.png").write_bytes(picture(COLOURS["red"], 1))
    done = run("init", "corpus", "--from", "one", folder=tmp_path)
    assert "24 pixels on the shorter side" in done.stdout
    assert "no image or sound has a caption" in " ".join(done.stdout.split())
    assert done.stderr == "next: isotrope run --corpus corpus\n"


def test_spaces_quotes_and_unicode_in_names_from_another_folder(tmp_path: Path) -> None:
    source = tmp_path / "Fotos mit Ümläut 猫 'q\" $x"
    deliver(source / "sub folder", 2)
    corpus = tmp_path / "Ein Korpus ü"
    done = run("init", corpus.name, "--from", source.name, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "next: isotrope run --corpus 'Ein Korpus ü'\n"
    done = run("status", "--corpus", os.path.relpath(corpus, "/"), folder=Path("/"))
    assert "not made yet (1 drops)" in done.stdout, done.stderr


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 2)
    (tmp_path / "photos" / "gone.png").symlink_to("nowhere.png")
    done = run("init", "corpus", "--from", "photos", folder=tmp_path)
    assert "file.unreadable, such as:" in " ".join(done.stdout.replace("│", " ").split())


def test_a_model_that_cannot_be_downloaded(tmp_path: Path) -> None:
    code = (
        "from embedders.encoders import open_clip_source as source\n"
        "parsed = source.Source('ViT-B-32', 'laion2b_s34b_b79k')\n"
        "source.weights_file(parsed)\n"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=os.environ | offline, capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert "ViT-B-32/laion2b_s34b_b79k cannot be downloaded" in last
    assert "give a file: open_clip:ViT-B-32//path/to/weights" in last
