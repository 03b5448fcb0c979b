"""The examples of README.md and docs/*.md: Python runs, configuration is valid, commands exist.

Python blocks run on a small real corpus, in the order of their page. Lines of commands are parsed,
not run.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pytest

from orchestration.cli.main import main
from store.config import corpus_yaml
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, picture
from tests.helpers.served import Served, served

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|(?<=\n\n    ))(?:    .*\n)+")
_INLINE = re.compile(r"`((?:isotrope|make|python) [^`]+)`")

# Why a line of these programs is not checked.
NOT_CHECKED = {
    **dict.fromkeys(["apt-get", "docker", "helm", "kubectl"], "changes the machine or a cluster"),
    **dict.fromkeys(["createdb", "initdb", "pg_ctl"], "is a program of PostgreSQL"),
    **dict.fromkeys(["dagster-daemon", "dagster-webserver", "ray"], "does not end"),
    **dict.fromkeys(["cp", "echo", "export", "mkdir", "sed", "source"], "prepares a shell"),
    "curl": "needs a server at a fixed port; tests/orchestration/server sends such requests",
}


class Block(NamedTuple):
    """A block of code of a page."""

    page: str
    language: str
    code: str


def blocks(page: str) -> Iterator[Block]:
    text = (ROOT / page).read_text()
    for language, code in _FENCE.findall(text):
        yield Block(page, language, code)
    for code in _INDENTED.findall(_FENCE.sub("", text)):
        yield Block(page, "shell", code)


BLOCKS = [block for page in PAGES for block in blocks(page)]


def command_lines() -> Iterator[tuple[str, str]]:
    """Pages and lines of commands: of shell blocks, and between backticks."""
    for block in BLOCKS:
        if block.language in ("shell", "sh", "bash"):
            for line in block.code.replace("\\\n", " ").splitlines():
                for command in line.split("&&"):
                    yield block.page, command.strip()
    for page in PAGES:
        for command in _INLINE.findall(_FENCE.sub("", (ROOT / page).read_text())):
            yield page, " ".join(command.split())


LINES = sorted({line for line in command_lines() if line[1]})
PYTHON = [page for page in PAGES if any(b[:2] == (page, "python") for b in BLOCKS)]


@pytest.fixture(scope="module")
def examples_server(stored: Workspace) -> Iterator[Served]:
    with served(stored.root) as running:
        yield running


def arrays() -> dict[str, Any]:
    """What the examples of the corrections name: galleries, banks and queries."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, 40, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    names = ("G", "B", "H", "Q", "Q2", "queries", "another", "new_rows")
    ids = np.arange(120).astype(str).reshape(3, 40)
    return {
        **dict(zip(names, rows, strict=True)),
        **dict(zip(("g_ids", "b_ids", "h_ids"), ids, strict=True)),
        "relevant": np.arange(40),
        "relevant2": np.arange(40),
        "clusters": np.arange(40),
    }


@pytest.mark.parametrize("page", PYTHON)
def test_python_runs(
    page: str,
    stored: Workspace,
    examples_server: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(stored.root, tmp_path / "corpus")
    for name in re.findall(r'"(\w+\.jpg)"', (ROOT / page).read_text()):
        (tmp_path / name).write_bytes(picture(COLOURS["grey"], len(name)))
    monkeypatch.chdir(tmp_path)
    names = arrays()
    for block in BLOCKS:
        if (block.page, block.language) == (page, "python"):
            code = block.code.replace("http://localhost:8000", examples_server.url)
            exec(compile(code, f"{page}: {code.splitlines()[0]}", "exec"), names)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("yaml", "json")])
def test_configuration_is_valid(block: Block) -> None:
    if block.language == "json":
        json.loads(block.code)
        return
    has_sources = block.code.startswith("sources:")
    sources = "" if has_sources else "sources: {photos: {path: photos}}\n"
    corpus_yaml.parse(sources + block.code)


@pytest.mark.parametrize(("page", "line"), LINES)
def test_commands_exist(page: str, line: str) -> None:
    words = shlex.split(re.sub(r"[\[\]]|\.\.\.|…", " ", line), comments=True)
    words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    if words and words[0] not in NOT_CHECKED:
        assert words[0] in ("isotrope", "make", "python"), f"{line!r}: add it to NOT_CHECKED"
        {"isotrope": check_isotrope, "make": check_make, "python": check_python}[words[0]](
            words[1:]
        )


def check_isotrope(words: list[str]) -> None:
    """Check that the command and its options exist. Raises click's UsageError."""
    command: click.Command = main
    context = click.Context(command)
    while isinstance(command, click.Group):
        words = command.make_parser(context).parse_args(list(words))[1]
        if not words:
            return
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
        context = click.Context(command, parent=context)
    command.make_parser(context).parse_args(words)


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+|\$\(READY\)):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [w for w in words if "=" not in w and w not in targets and w != ".venv/.ready"] == []


def check_python(words: list[str]) -> None:
    """Check that the module or the script exists."""
    name = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
    assert (ROOT / name).is_file() or (ROOT / name.removesuffix(".py") / "__main__.py").is_file()


def test_every_page_with_examples_is_checked() -> None:
    assert {"README.md", "docs/python.md", "docs/search.md", "docs/server.md"} <= set(PYTHON)
    assert len(LINES) > 60
    programs = {line.split()[0] for _, line in LINES}
    assert set(NOT_CHECKED) <= programs, "the pages do not name these programs any more"
    known = {"python", "yaml", "json", "mermaid", "shell", "sh", "bash", "text"}
    assert {block.language for block in BLOCKS} <= known
