"""Checks that every command line in `infra/` is one that its program accepts."""

import re
import shlex
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import Any

import click
import yaml

from tools.check_infra.files import DOCKERFILE, INFRA, name
from tools.check_infra.manifests import Object, pod_specs

_PROGRAMS = {
    "isotrope": "orchestration.cli.main:main",
    "dagster": "dagster._cli:cli",
    "dagster-daemon": "dagster._daemon.cli:cli",
    "dagster-webserver": "dagster_webserver.cli:cli",
    "ray": "ray.scripts.scripts:cli",
}


def problems(built: dict[str, list[Object]]) -> Iterator[str]:
    """Commands that would fail with an error of usage."""
    for where, words in (*_of_images(), *_of_compose(), *_of_objects(built)):
        if error := usage_error(words):
            yield f"{where}: {shlex.join(words)}: {error}"


def usage_error(words: list[str]) -> str | None:
    """Why a program refuses its arguments; None: it accepts them, or is none of ours."""
    program, *arguments = words
    if program not in _PROGRAMS:
        return None
    command: click.Command = resolve_name(_PROGRAMS[program])
    context = click.Context(command, info_name=program)
    try:
        while arguments := command.make_parser(context).parse_args(list(arguments))[1]:
            if not isinstance(command, click.Group):
                break
            child = command.get_command(context, arguments[0])
            if child is None:
                return f"there is no command {arguments[0]}"
            command, arguments = child, arguments[1:]
            context = click.Context(command, parent=context)
    except click.UsageError as error:
        return error.format_message()
    return None


def _of_images() -> Iterator[tuple[str, list[str]]]:
    text = DOCKERFILE.read_text()
    for words in re.findall(r"^(?:CMD|ENTRYPOINT) (\[.+\])$", text, re.MULTILINE):
        yield name(DOCKERFILE), yaml.safe_load(words)
    for line in re.findall(r"&& (isotrope .*)$", text, re.MULTILINE):
        yield name(DOCKERFILE), shlex.split(line)


def _of_compose() -> Iterator[tuple[str, list[str]]]:
    path = INFRA / "compose" / "compose.yaml"
    for service, settings in yaml.safe_load(path.read_text())["services"].items():
        where = f"{name(path)}: {service}"
        if command := settings.get("command"):
            yield where, shlex.split(command) if isinstance(command, str) else command
        if test := settings.get("healthcheck", {}).get("test"):
            yield where, test[1:]


def _of_objects(built: dict[str, list[Object]]) -> Iterator[tuple[str, list[str]]]:
    for overlay, objects in built.items():
        for each in objects:
            for spec in pod_specs(each):
                for container in spec["containers"]:
                    where = f"overlay {overlay}: {each['metadata']['name']}"
                    for words in _of_container(container):
                        yield where, words


def _of_container(container: dict[str, Any]) -> Iterator[list[str]]:
    if words := [*container.get("command", []), *container.get("args", [])]:
        yield words
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if words := container.get(probe, {}).get("exec", {}).get("command"):
            yield words
