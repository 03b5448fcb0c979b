"""Checks the SQL conditions of queries and writes them anew for Lance.

A condition may come from a stranger. It is parsed, every node must be of a kind that is allowed
(comparisons, boolean and arithmetic operators, functions whose result is no larger than an
argument), and Lance gets the text that is written from the checked tree, never the given text.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from store.errors import InputError
from store.tables.lance_tables import quote

MAX_DEPTH = 32  # of the tree
MAX_TERMS = 256  # of a chain of AND or OR
_NUMBER = re.compile(r"\d{1,30}(\.\d{0,30})?([eE][+-]?\d{1,2})?|\.\d{1,30}")
_OPERATORS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.Is: "IS",
    exp.Like: "LIKE",
    exp.ILike: "ILIKE",
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
}
_FUNCTIONS: dict[type[exp.Expr], str] = {
    exp.Abs: "abs",
    exp.ArrayContains: "array_has",
    exp.Coalesce: "coalesce",
    exp.Contains: "contains",
    exp.Length: "length",
    exp.Lower: "lower",
    exp.StartsWith: "starts_with",
    exp.Upper: "upper",
}


def compile_condition(condition: str, columns: Sequence[str]) -> str:
    """Check a condition and write it for Lance.

    Args:
        condition: one boolean SQL expression.
        columns: the columns that it may name.

    Raises:
        InputError: it is something else, too deep, or names another column or function.
    """
    return _compile(condition, tuple(columns))


@lru_cache(maxsize=256)  # each query of a batch, and each gallery, has the same condition
def _compile(condition: str, columns: tuple[str, ...]) -> str:
    try:
        # In SQLite's dialect "name" and `name` are names, and 'string' alone is a string.
        statements = sqlglot.parse(condition, read="sqlite")
        if len(statements) != 1 or statements[0] is None:
            raise InputError("expected one condition and nothing after it")
        return _Writer(columns).write(statements[0])
    except RecursionError:
        problem = "it is nested too deeply"
    except InputError as error:
        problem = str(error)
    except SqlglotError as error:
        first = (getattr(error, "errors", None) or [{}])[0]
        problem = f"{first.get('description', error)}".splitlines()[0][:200]
    raise InputError(
        f"where={condition[:200]!r} cannot be used: {problem}; columns: {', '.join(columns)}"
    )


class _Writer:
    """Writes the nodes that are allowed. Others, and nodes with other parts, raise InputError."""

    def __init__(self, columns: Sequence[str]):
        self._columns = frozenset(columns)
        self._depth = 0
        self._leaves: dict[type[exp.Expr], Callable[..., str]] = {
            exp.Between: self._between,
            exp.Boolean: lambda node: "true" if node.this else "false",
            exp.Column: self._column,
            exp.In: self._in,
            exp.Literal: self._literal,
            exp.Neg: lambda node: f"(-{self.write(node.this)})",
            exp.Not: lambda node: f"(NOT {self.write(node.this)})",
            exp.Null: lambda node: "NULL",
            exp.Paren: lambda node: self.write(node.this),
        }

    def write(self, node: exp.Expr) -> str:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InputError("it is nested too deeply")
        kind = type(node)
        if kind in (exp.And, exp.Or):
            text = self._chain(node)
        elif kind in _OPERATORS:
            _check_parts(node, "this", "expression", "negate", "typed", "safe")
            operator = f"NOT {_OPERATORS[kind]}" if node.args.get("negate") else _OPERATORS[kind]
            text = f"({self.write(node.this)} {operator} {self.write(node.expression)})"
        elif kind in _FUNCTIONS:
            _check_parts(node, "this", "expression", "expressions")
            arguments = [node.this, node.args.get("expression"), *node.expressions]
            written = [self.write(a) for a in arguments if a is not None]
            text = f"{_FUNCTIONS[kind]}({', '.join(written)})"
        elif kind in self._leaves:
            text = self._leaves[kind](node)
        elif isinstance(node, exp.Func):
            name = node.name if kind is exp.Anonymous else node.sql_name().lower()
            allowed = ", ".join(_FUNCTIONS.values())
            raise InputError(f"the function {name[:50]!r} is not allowed; allowed are {allowed}")
        else:
            raise InputError(f"{node.key!r} is not allowed in a condition")
        self._depth -= 1
        return text

    def _chain(self, node: exp.Expr) -> str:
        terms = list(node.flatten())
        if len(terms) > MAX_TERMS:
            raise InputError(f"it has more than {MAX_TERMS} terms")
        return f"({f' {node.key.upper()} '.join(map(self.write, terms))})"

    def _between(self, node: exp.Expr) -> str:
        _check_parts(node, "this", "low", "high")
        low, high = self.write(node.args["low"]), self.write(node.args["high"])
        return f"({self.write(node.this)} BETWEEN {low} AND {high})"

    def _in(self, node: exp.Expr) -> str:
        _check_parts(node, "this", "expressions")
        if not node.expressions:
            raise InputError("IN needs values")
        return f"({self.write(node.this)} IN ({', '.join(map(self.write, node.expressions))}))"

    def _column(self, node: exp.Expr) -> str:
        _check_parts(node, "this")
        name = node.name if node.name in self._columns else node.name.lower()
        if name not in self._columns:
            raise InputError(f"there is no column {node.name[:50]!r}")
        return f"`{name}`"

    def _literal(self, node: exp.Expr) -> str:
        if node.is_string:
            return quote(node.this)
        if not _NUMBER.fullmatch(node.this):
            raise InputError(f"{node.this[:50]} is not a number")
        return str(node.this)


def _check_parts(node: exp.Expr, *names: str) -> None:
    """Raise InputError if a node has a part that is not written, such as OVER or ESCAPE."""
    if other := [name for name, value in node.args.items() if value and name not in names]:
        raise InputError(f"{node.key!r} with {other[0]!r} is not allowed in a condition")
