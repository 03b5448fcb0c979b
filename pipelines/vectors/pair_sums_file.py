"""The file of the sums over pairs that a head in closed form was solved from, by its projection."""

from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.numpy import load_file, save_file

from embedders.alignment.grow import SplitSums
from embedders.alignment.pair_sums import PairSums
from store.errors import InputError
from store.tables.files import Files
from store.tables.projections import sums_file

_PARTS = ("learned", "held")


def save_sums(files: Files, projection: str, sums: SplitSums) -> None:
    """Write the sums of a projection."""
    parts = zip(_PARTS, (sums.learned, sums.held), strict=True)
    tensors = {f"{name}.{n}": t for name, part in parts for n, t in part.tensors().items()}
    with TemporaryDirectory() as folder:
        path = Path(folder, "sums.safetensors")
        save_file(tensors, path)
        files.upload(path, sums_file(projection))


def load_sums(files: Files, projection: str) -> SplitSums:
    """Read the sums of a projection.

    Raises:
        InputError: it has none.
    """
    name = sums_file(projection)
    if not files.exists(name):
        raise InputError(
            f"{name} is missing, as after a takedown: learn the head anew with `isotrope align`"
        )
    with TemporaryDirectory() as folder:
        path = Path(folder, "sums.safetensors")
        files.download(name, path)
        tensors = load_file(path)
    learned, held = (
        PairSums.from_tensors(
            {n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(f"{part}.")}
        )
        for part in _PARTS
    )
    return SplitSums(learned, held)
