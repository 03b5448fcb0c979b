"""Load YAML that a person wrote, and refuse everything that could crash or stall the reader.

The loader is libyaml's (about 20 times faster than PyYAML's own) if PyYAML was built with it. Size,
nesting and the number of values are limited, because a file of a few hundred bytes can otherwise
expand to billions of values through its aliases.
"""

from typing import Any

import yaml
from yaml.reader import Reader

from store.errors import ConfigError

MAX_CHARACTERS = 1 << 20
_MAX_DEPTH = 50
_MAX_VALUES = 100_000  # with aliases expanded
# Python's limit is 4,300 digits, and numbers of base 60 (1:30:00) take quadratic time.
_MAX_NUMBER_CHARACTERS = 100
_NUMBERS = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str, name: str) -> tuple[Any, yaml.Node | None]:
    """Load one YAML document.

    Args:
        text: the document.
        name: of the file, for error messages.

    Returns:
        Its value, and its nodes, which have line numbers. None and None if it is empty.

    Raises:
        ConfigError: the text is not YAML, a value does not fit its tag, or a limit is exceeded.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(too_long(name))
    if character := Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, character.start()) + 1
        raise ConfigError(
            f"{name}:{line}: not YAML: the character U+{ord(character.group()):04X} is not allowed"
        )
    try:
        _check_events(text)
        loader = _Loader(text)
        tree = loader.get_single_node()
        if tree is None:
            return None, None
        _count_values(tree, {}, set())
        return loader.construct_document(tree), tree
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        last_line = text.rstrip("\n").count("\n") + 1  # libyaml reports the end as the line after
        where = f"{name}:{min(mark.line + 1, last_line)}" if mark else name
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{where}: not YAML: {problem}") from None


def too_long(name: str) -> str:
    """The message for a file of more than MAX_CHARACTERS."""
    return f"{name}:1: too long: at most {MAX_CHARACTERS:,} characters are allowed"


class _Loader(_Base):
    """Gives each value that does not fit its tag, such as `!!int x`, an error with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode):
            if node.tag in _NUMBERS and len(node.value) > _MAX_NUMBER_CHARACTERS:
                raise _error(
                    f"a number has at most {_MAX_NUMBER_CHARACTERS} characters", node.start_mark
                )
            if "\0" in node.value:
                raise _error("the character U+0000 is not allowed", node.start_mark)
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # PyYAML converts scalars without a check
            kind = node.tag.rpartition(":")[2]
            given = f"{node.value!r:.80}" if isinstance(node, yaml.ScalarNode) else "this value"
            raise _error(f"{given} is not a valid {kind}", node.start_mark) from error


def _check_events(text: str) -> None:
    """Check the nesting and the number of values before they are built, which is recursive."""
    depth = count = 0
    for event in yaml.parse(text, Loader=_Base):
        count += isinstance(event, yaml.NodeEvent)
        if count > _MAX_VALUES:
            raise _too_many(event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                message = f"nested too deeply: at most {_MAX_DEPTH} levels are allowed"
                raise _error(message, event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _count_values(node: yaml.Node, counts: dict[int, int], parents: set[int]) -> int:
    """The number of values under a node, with aliases expanded.

    Args:
        node: the node.
        counts: the results for nodes that were counted before, by id.
        parents: the ids of the nodes that contain this one.
    """
    if id(node) in parents:
        raise _error("an alias refers to a value that contains it", node.start_mark)
    if id(node) not in counts:
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            children = [child for pair in children for child in pair]
        parents = parents | {id(node)}
        count = 1 + sum(_count_values(child, counts, parents) for child in children)
        if count > _MAX_VALUES:
            raise _too_many(node.start_mark)
        counts[id(node)] = count
    return counts[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse a key that is given twice: PyYAML keeps the last value and drops the others."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name, mark = (key.tag, key.value), key.start_mark
        if name in lines:
            message = f"{key.value!r:.80} is given twice, first in line {lines[name]}"
            raise _error(message, mark)
        lines[name] = mark.line + 1


def _too_many(mark: Any) -> yaml.MarkedYAMLError:
    return _error(f"too many values: at most {_MAX_VALUES:,}, with aliases expanded", mark)


def _error(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
