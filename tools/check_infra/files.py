"""Checks of single files: Dockerfile, YAML, values of charts, corpus.yaml, dagster.yaml."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import yaml
from dagster import DagsterError
from dagster._core.instance.ref import InstanceRef
from jsonschema import Draft202012Validator

from store.config.corpus_yaml import parse
from store.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
DOCKERFILE = INFRA / "images" / "Dockerfile"
_MIN_SECRET_LENGTH = 20


def problems() -> Iterator[str]:
    """What is wrong in the files of `infra/`."""
    yield from _tool("hadolint", str(DOCKERFILE))
    yield from _tool("yamllint", "--strict", "--config-file", str(INFRA / ".yamllint"), str(INFRA))
    yield from _copied_paths()
    yield from _secrets()
    yield from _corpora()
    yield from _dagster_instance()
    for chart in sorted((INFRA / "charts").glob("*.yaml")):
        schema = json.loads((INFRA / "schemas" / f"{chart.stem}-values.json").read_text())
        yield from schema_errors(yaml.safe_load(chart.read_text()), schema, name(chart))


def name(path: Path) -> str:
    """A path as messages show it."""
    return str(path.relative_to(ROOT))


def schema_errors(document: object, schema: dict, where: str) -> Iterator[str]:
    """The differences of a document from a JSON schema."""
    for error in Draft202012Validator(schema).iter_errors(document):
        yield f"{where}: {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"


def _tool(program: str, *arguments: str) -> Iterator[str]:
    path = shutil.which(program)
    if path is None:
        yield f"{program} is not installed: `make check-infra` installs it"
        return
    done = subprocess.run([path, *arguments], capture_output=True, text=True)
    if done.returncode:
        yield (done.stdout + done.stderr).strip()


def _copied_paths() -> Iterator[str]:
    """Files that the Dockerfile or its ignore file names must exist."""
    text = DOCKERFILE.read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for path in line.split()[:-1]:
            if not (ROOT / path).exists():
                yield f"{name(DOCKERFILE)}: COPY {path}: there is no such file"
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore")
    for path in re.findall(r"^!(.+)$", ignore.read_text(), re.MULTILINE):
        if not (ROOT / path).exists():
            yield f"{name(ignore)}: {path}: there is no such file"


def _secrets() -> Iterator[str]:
    """No file holds a secret; they come by reference."""
    pattern = re.compile(
        rf"(?i)(?:password|secret|token|key)\w*[:=]\s*[\"']?(\w{{{_MIN_SECRET_LENGTH},}})"
    )
    for path in sorted(p for p in INFRA.rglob("*") if p.is_file() and p.name != "requirements.txt"):
        for value in pattern.findall(path.read_text()):
            yield f"{name(path)}: looks like a secret: {value[:4]}..."


def _corpora() -> Iterator[str]:
    for path in sorted(INFRA.rglob("corpus.yaml")):
        try:
            parse(path.read_text(), name(path))
        except ConfigError as error:
            yield str(error)


def _dagster_instance() -> Iterator[str]:
    """dagster.yaml loads, with the variables that compose.yaml sets."""
    source = INFRA / "compose" / "dagster.yaml"
    variables = dict.fromkeys(re.findall(r"env: (\w+)", source.read_text()), "5432")
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, variables):
        shutil.copy(source, Path(folder, "dagster.yaml"))
        try:
            InstanceRef.from_dir(folder)
        except DagsterError as error:
            yield f"{name(source)}: {error}"
