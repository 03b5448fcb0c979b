"""The names of the tables that exist once per space, or once per space and modality."""


def vectors_table(space: str) -> str:
    """The vectors of every part."""
    return f"vectors__{space}"


def features_table(space: str, modality: str) -> str:
    """What a frozen encoder makes of the parts of a modality, before a projection."""
    return f"features__{space}__{modality}"


def pairs_table(space: str) -> str:
    """How well the parts of each sample fit each other."""
    return f"pairs__{space}"


def bank_table(space: str) -> str:
    """The samples of queries and gallery items that corrections are fitted on."""
    return f"banks__{space}"


def directions_table(space: str) -> str:
    """The fitted corrections of the last gallery build, by direction."""
    return f"directions__{space}"


def gallery_table(space: str, modality: str) -> str:
    """What search reads: one row a part of a modality."""
    return f"gallery__{space}__{modality}"


def drift_table(space: str) -> str:
    """The drift measurements of releases."""
    return f"drift__{space}"


def query_log_table(space: str) -> str:
    """The vectors of queries, where corpus.yaml keeps a query log."""
    return f"query_log__{space}"
