"""Error messages for a configuration file: line, field, given value, and what is allowed."""

from typing import Any

import yaml
from pydantic import BaseModel

# A long value is cut in a message.
_MAX_GIVEN = 200
_MAX_MESSAGE = 2_000


def explain(error: Any, model: type[BaseModel], tree: yaml.Node | None, name: str) -> str:
    """Format an error of pydantic as one line.

    Args:
        error: an element of `ValidationError.errors()`.
        model: of the file.
        tree: the file's YAML nodes, for line numbers.
        name: of the file.
    """
    message = _message(error, model, tree, name)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)


def _message(error: Any, model: type[BaseModel], tree: yaml.Node | None, name: str) -> str:
    path = [str(part) for part in error["loc"]]
    field = ".".join(path)[:_MAX_GIVEN] or "corpus.yaml"
    where = f"{name}:{_line(tree, path)}: {field}"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; allowed here: {', '.join(_allowed(model, path[:-1]))}"
    if error["type"] == "missing":
        return f"{where}: required, but missing"
    message = error["msg"].removeprefix("Value error, ")[:_MAX_MESSAGE]
    given = error.get("input")
    suffix = f" (given: {_short(given)})" if isinstance(given, str | int | float | bool) else ""
    return f"{where}: {message}{suffix}"


def _line(node: yaml.Node | None, path: list[str]) -> int:
    """The line of the deepest existing node along `path`, from 1."""
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):  # of equal keys, the last counts
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
        else:
            return line
    return line


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
