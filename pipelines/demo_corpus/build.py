"""Builds the demonstration corpus: images, captions in many languages, and recordings.

It is made from Tux Paint's stamps, a Debian package. Where no Debian mirror can be reached, it is
made from OpenMoji's drawings, a Python package.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.demo_corpus import openmoji, tuxpaint
from pipelines.demo_corpus.shards import Sample, write_shards
from store.errors import SourceError

__all__ = ["build"]

DROPS = ("stamps", "openmoji")


def build(target: Path, cache: Path, progress: Callable[[str], None] = print) -> Path:
    """Build the drop of the demonstration, WebDataset shards of 100 samples, in `target`.

    A drop that was built before is not built again. The same package always gives the same bytes.

    Args:
        target: the source's folder, in which the drop's folder is made.
        cache: where the downloaded package is kept.
        progress: called with messages; also says why the stamps could not be fetched.

    Returns:
        The drop's folder, named `stamps` or `openmoji`.

    Raises:
        SourceError: neither package is available.
    """
    target, cache = target.resolve(), cache.resolve()  # apt and dpkg run in other folders
    for name in DROPS:
        if (target / name).is_dir():
            progress(f"{target / name} already exists")
            return target / name
    try:
        package = tuxpaint.fetch(cache, progress)
    except SourceError as error:
        progress(
            f"Tux Paint's stamps cannot be fetched: {error}\nUsing OpenMoji's drawings instead."
        )
        return _publish(target, "openmoji", openmoji.read(progress), progress)
    with tuxpaint.unpacked(package, cache) as root:
        samples = tuxpaint.read(root, package.stem, progress)
        return _publish(target, "stamps", samples, progress)


def _publish(
    target: Path, name: str, samples: Iterator[Sample], progress: Callable[[str], None]
) -> Path:
    # The folder is hidden until it is complete, since a sensor may be watching the source.
    target.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target))
    try:
        count = write_shards(samples, scratch)
        if not count:
            raise SourceError(f"the package of the demonstration corpus holds no {name}")
        scratch.chmod(0o755)
        os.replace(scratch, target / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    progress(f"{count} samples in {target / name}")
    return target / name
