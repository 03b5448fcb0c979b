"""The names of tables that exist once for each space."""


def kind_of(name: str) -> str:
    """What a table holds, whatever its space and modality: `gallery` of `gallery__local__image`."""
    return name.partition("__")[0]


def vectors_table(space: str) -> str:
    """The vectors of all parts."""
    return f"vectors__{space}"


def features_table(space: str, modality: str) -> str:
    """The vectors of a frozen encoder for the parts of a modality, before projection."""
    return f"features__{space}__{modality}"


def pairs_table(space: str) -> str:
    """Signals that compare the parts of a sample."""
    return f"pairs__{space}"


def pair_draws_table(space: str) -> str:
    """The random parts that the signals of pairs are measured against."""
    return f"pair_draws__{space}"


def bank_table(space: str) -> str:
    """The queries and items that corrections are fitted and evaluated on."""
    return f"banks__{space}"


def directions_table(space: str) -> str:
    """The fitted corrections of the last gallery build, by direction."""
    return f"directions__{space}"


def words_table(space: str) -> str:
    """The words that items of the galleries are given, with their vectors and biases."""
    return f"words__{space}"


def tokens_table(space: str, modality: str) -> str:
    """The token vectors of parts of a modality (`store.tables.tokens`)."""
    return f"tokens__{space}__{modality}"


def moment_vectors_table(space: str, modality: str) -> str:
    """The vectors of the moments of parts of a modality (`store.tables.moments`)."""
    return f"moment_vectors__{space}__{modality}"


def moments_table(space: str, modality: str) -> str:
    """The moments of one modality that search reads (`store.tables.moments`)."""
    return f"moments__{space}__{modality}"


def indexes_table(space: str) -> str:
    """How the stored galleries are indexed."""
    return f"indexes__{space}"


def gallery_table(space: str, modality: str) -> str:
    """The items of one modality that search reads."""
    return f"gallery__{space}__{modality}"


def concepts_table(space: str) -> str:
    """The vectors of the concepts that the policy matches by vectors."""
    return f"concepts__{space}"


def translations_table(space: str) -> str:
    """The vectors of translated captions that releases are evaluated with."""
    return f"translations__{space}"


def tallies_table(space: str) -> str:
    """The counts and result lists of the newest release's test queries."""
    return f"tallies__{space}"


def drift_table(space: str) -> str:
    """The drift measurements of releases."""
    return f"drift__{space}"


def query_log_table(space: str) -> str:
    """The vectors of logged queries."""
    return f"query_log__{space}"


def is_query_log(name: str) -> bool:
    """Whether a table is the query log of any space."""
    return name.startswith("query_log__")


def is_gallery(name: str) -> bool:
    """Whether a table is a gallery of any space and modality."""
    return name.startswith("gallery__")


def has_unique_parts(name: str) -> bool:
    """Whether a table has one row for each `part_id`: vectors, features, tokens, galleries."""
    others = ("vectors__", "features__", "tokens__", "moment_vectors__")
    return is_gallery(name) or name.startswith(others)
