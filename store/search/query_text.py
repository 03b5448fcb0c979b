"""A query as text, for people and logs."""

from typing import Any

from store.search.query_json import COLUMNS


def query_text(query: Any) -> str:
    """The calls that make the query, with inputs in short form."""
    first = " + ".join(map(str, query.inputs[0])).replace("+ -", "- ")
    more = f" and {len(query.inputs) - 1} more queries" if query.is_batch else ""
    params = "".join(f", {name}={value}" for name, value in query.params)
    words = [f"search({first}{more})", f"among({query.gallery})"]
    words += [f"correct({query.method}{params})"] if query.method != "auto" else []
    words += [f"where({query.condition})"] if query.condition else []
    words += [f"select({', '.join(query.columns)})"] if query.columns != COLUMNS else []
    options: tuple[tuple[str, str], ...]
    options = ("count", "limit"), ("start", "offset"), ("floor", "range")
    options += ("seconds", "timeout"), ("number", "release")
    for name, word in (*options, ("duplicate", "dedup"), ("relevance", "diverse")):
        value = getattr(query, name)
        if value is not None and (value or word == "range"):
            words.append(f"{word}({value:g})")
    return ".".join(words)
