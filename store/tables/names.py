"""The names of the tables."""


def vectors_table(space: str) -> str:
    """The table of a space's vectors."""
    return f"vectors__{space}"


def pairs_table(space: str) -> str:
    """The table of what compares a sample's parts in a space."""
    return f"pairs__{space}"


def gallery_table(space: str, modality: str) -> str:
    return f"gallery__{space}__{modality}"


def bank_table(space: str) -> str:
    return f"banks__{space}"
