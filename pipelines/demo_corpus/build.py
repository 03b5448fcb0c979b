"""The demonstration corpus: pictures, captions in many languages, and sounds, from a package.

They are Tux Paint's stamps, as Debian packages them; where there is no Debian mirror to fetch
them from, OpenMoji's drawings.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipelines.demo_corpus import openmoji, tuxpaint
from pipelines.demo_corpus.shards import write_shards
from store.errors import SourceError

__all__ = ["build"]

DROPS = ("stamps", "openmoji")


def build(target: Path, cache: Path, progress: Callable[[str], None] = print) -> Path:
    """Builds the drop of the demonstration in `target` and returns its folder.

    The folder's name tells which it is: `stamps`, or `openmoji` where the stamps could not be
    had, and then `progress` says why. It holds WebDataset shards of 100 samples, with the same
    bytes every time. What was built before is returned at once; the download is kept in `cache`.

    Raises SourceError where neither can be had.
    """
    target, cache = target.resolve(), cache.resolve()  # other programs run in other folders
    for name in DROPS:
        if (target / name).is_dir():
            progress(f"{target / name} is already there")
            return target / name
    try:
        package = tuxpaint.fetch(cache, progress)
    except SourceError as error:
        progress(f"Tux Paint's stamps cannot be had: {error}\nTaking OpenMoji's drawings instead.")
        return _publish(target, "openmoji", openmoji.read, progress)
    with tuxpaint.unpacked(package, cache) as root:
        return _publish(
            target, "stamps", lambda say: tuxpaint.read(root, package.stem, say), progress
        )


def _publish(target: Path, name: str, read: Callable, progress: Callable[[str], None]) -> Path:
    # Hidden until it is whole: whoever watches the source must not see half a drop.
    target.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target))
    try:
        count = write_shards(read(progress), scratch)
        if not count:
            raise SourceError(f"the demonstration's package holds no {name}")
        scratch.chmod(0o755)
        os.replace(scratch, target / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    progress(f"{count} samples in {target / name}")
    return target / name
