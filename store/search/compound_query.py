"""Compound queries: several queries joined into one, by what must, may and must not be alike.

snowy = all_of(corpus.search(text="a dog"), any_of(corpus.search(text="snow"),
               corpus.search(image="ice.jpg")), none_of(corpus.search(text="a person")))
snowy.among("image").limit(10).to_list()
"""

from dataclasses import replace
from typing import TypeVar

from store.errors import InputError
from store.search.compound import Compound, Kind
from store.search.inputs import Inputs
from store.search.query import Query

Q = TypeVar("Q", bound=Query)


def all_of(*queries: Q) -> Q:
    """Join queries that all must fit: a row has the lowest of their calibrated scores.

    `none_of` may stand among them.

    Args:
        queries: from `Corpus.search`, or compound. Options such as `among` and `limit` are set on
            the joined query.

    Returns:
        A query of the type of the first one, on its corpus.

    Raises:
        InputError: there is no query that is wanted, there are more than 16, one has options or is
            a batch, or they are nested more than four times.
    """
    return _joined("all", queries)


def any_of(*queries: Q) -> Q:
    """Join queries of which one must fit: a row has the highest of their calibrated scores.

    Arguments and errors are those of `all_of`.
    """
    return _joined("any", queries)


def none_of(*queries: Q) -> Q:
    """Join queries that must not fit, to be put into `all_of`.

    The highest of their calibrated scores is subtracted from the score of a row, if it is above 0:
    items that fit no better than unrelated ones lose nothing. Arguments and errors are those of
    `all_of`.
    """
    return _joined("none", queries)


def _joined(kind: Kind, queries: tuple[Q, ...]) -> Q:
    name = f"{kind}_of()"
    if not queries or not all(isinstance(query, Query) for query in queries):
        raise InputError(f'{name} takes queries, such as corpus.search(text="a dog")')
    inputs: list[Inputs] = []
    members: list[int | Compound] = []
    for query in queries:
        if query.is_batch:
            raise InputError(f"{name} takes single queries, not lists of inputs")
        if query.value != Query(query.inputs, compound=query.compound):
            raise InputError(f"{name}: set options on the joined query, not on {query}")
        if query.compound is None:
            members.append(len(inputs))
        else:
            members.append(query.compound.moved(len(inputs)))
        inputs += query.inputs
    compound = Compound(kind, tuple(members))
    whole = Compound("all", (0, compound.moved(1))) if kind == "none" else compound
    whole.check(len(inputs) + (kind == "none"))
    return replace(queries[0], inputs=tuple(inputs), compound=compound)
