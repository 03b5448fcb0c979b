"""Error messages for a configuration file: line, field, given value, and what is allowed."""

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel

# A long value is cut in a message.
_MAX_GIVEN = 200
_MAX_MESSAGE = 2_000


def explain(
    errors: Sequence[Any], model: type[BaseModel], tree: yaml.Node | None, name: str
) -> list[str]:
    """Format errors of pydantic as one line for each field.

    Args:
        errors: of `ValidationError.errors()`.
        model: of the file.
        tree: the file's YAML nodes, for line numbers.
        name: of the file.
    """
    problems: dict[str, tuple[list[str], str]] = {}  # alternatives of a union have one field
    for error in errors:
        line, path = _locate(tree, error)
        field = ".".join(path)[:_MAX_GIVEN] or "corpus.yaml"
        messages, _ = problems.setdefault(f"{name}:{line}: {field}: ", ([], _given(error)))
        messages.append(_problem(error, model, path))
    lines = [where + ", or: ".join(texts) + given for where, (texts, given) in problems.items()]
    return ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines]


def _problem(error: Any, model: type[BaseModel], path: list[str]) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown key; allowed here: {', '.join(_allowed(model, path[:-1]))}"
    if error["type"] == "missing":
        return "required, but missing"
    return error["msg"].removeprefix("Value error, ")[:_MAX_MESSAGE]


def _given(error: Any) -> str:
    """The value that an error is about, if it can be shown."""
    given = error.get("input")
    shown = isinstance(given, str | int | float | bool)
    if not shown or error["type"] in ("extra_forbidden", "missing"):
        return ""
    return f" (given: {_short(given)})"


def _locate(node: yaml.Node | None, error: Any) -> tuple[int, list[str]]:
    """The line of the deepest node that the error's location names, from 1, and its path.

    Parts of the location that are not in the file name an alternative of a union; only the last
    part of a missing key stays.
    """
    line, path = 1, []
    location = [str(part) for part in error["loc"]]
    for part in location:
        child = _child(node, part)
        if child is None:
            continue
        line, node = child
        path.append(part)
    if error["type"] == "missing":
        path.append(location[-1])
    return line, path


def _child(node: yaml.Node | None, part: str) -> tuple[int, yaml.Node] | None:
    """The line and the node of a key or an index of a node, if it has it."""
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):  # of equal keys, the last counts
            if key.value == part:
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
        value = node.value[int(part)]
        return value.start_mark.line + 1, value
    return None


def _short(value: Any) -> str:
    """The value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _MAX_GIVEN else f"{text[:_MAX_GIVEN]}..."


def _allowed(model: Any, path: list[str]) -> list[str]:
    """The allowed keys of the section at `path`."""
    for part in path:
        field = model.model_fields.get(part)
        if field is None and "__pydantic_extra__" not in model.__annotations__:
            continue  # a name that the user chose, such as that of a source
        annotation = field.annotation if field else model.__annotations__["__pydantic_extra__"]
        section = _section(annotation)
        if section is None:
            break
        model = section
    return [f.alias or name for name, f in model.model_fields.items()]


def _section(annotation: Any) -> Any:
    """The first model in a type annotation, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (section := _section(inner)) is not None:
            return section
    return None
