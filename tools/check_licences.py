"""Fail when a package that an installation of isotrope needs is licensed under the GPL or AGPL.

Checks the default installation and the extras of `EXTRAS`, with everything that they depend on, as
installed in this environment. It reads the metadata of each package, the text of its licence files
and the names of the libraries that it bundles, because metadata can be wrong: nudenet 3.4.2
declares MIT and ships the AGPL, av 18 declares BSD and ships libx264. The LGPL is allowed. Tools
that only developers run are not checked.
"""

import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("client", "sklearn", "models", "pipelines", "crops", "documents", "s3", "deploy", "demo")

# Reviewed: the licence that is found, and why it does not bind who installs the package.
ALLOWED = {
    "numpy": ("GPL", "bundles libgfortran, whose GPL has the GCC Runtime Library Exception"),
    "scipy": ("GPL", "bundles libgfortran, whose GPL has the GCC Runtime Library Exception"),
    "pypdfium2": ("GPL", "Autoconf's scripts, not shipped; libgcc's Runtime Library Exception"),
    "nvidia-*": ("GPL", "the file lists all of the CUDA toolkit; only cuda-gdb, absent, is GPL"),
}

_LICENCE_FILE = re.compile(r"licen[cs]e|copying|notice|gpl", re.IGNORECASE)
# Libraries under the GPL that wheels bundle without their licence: av 18 declares BSD-3-Clause.
_GPL_LIBRARY = re.compile(r"lib(x264|x265|xvidcore|vidstab|rubberband|postproc)\b")
_CODE = {".py", ".pyc", ".pyi", ".h", ".hpp", ".js", ".so"}
# The name of a licence. "LGPL" and "Lesser General Public License" do not match.
_NAME = re.compile(
    r"(?<![a-z])a?gpl|(affero )?(?<!lesser )(?<!library )general public license", re.IGNORECASE
)
# The title of the licence's text, or the notice that puts a work under it.
_TEXT = re.compile(
    r"GNU (AFFERO )?GENERAL PUBLIC LICENSE Version"
    r"|(?i:under the terms of the GNU (affero )?general public license)"
)
_LONGEST_NAME = 200  # characters; a longer `License` field of the metadata holds the whole text


class Finding(NamedTuple):
    """A GPL or AGPL licence of a package, and the file or metadata field that names it."""

    package: str
    licence: str
    source: str


def findings(package: Distribution) -> Iterator[Finding]:
    """The GPL and AGPL licences that a package's metadata and licence files name."""
    name = canonicalize_name(package.metadata["Name"])
    for field in ("License-Expression", "License", "Classifier"):
        for value in package.metadata.get_all(field, []):
            if (field != "Classifier" or value.startswith("License")) and (licence := find(value)):
                yield Finding(name, licence, f"metadata, {field}")
    for file in package.files or ():
        if _GPL_LIBRARY.match(file.name):
            yield Finding(name, "GPL", str(file))
        is_licence = _LICENCE_FILE.search(file.name) or "licenses" in file.parts
        path = Path(str(file.locate()))
        if not is_licence or file.suffix in _CODE or not path.is_file():
            continue
        if licence := find(path.read_text(encoding="utf-8", errors="replace")):
            yield Finding(name, licence, str(file))


def find(text: str) -> str | None:
    """ "AGPL" or "GPL" where a text is such a licence or names it; None where it is another."""
    text = " ".join(text.split())
    pattern = _NAME if len(text) <= _LONGEST_NAME else _TEXT
    matches = [match[0].lower() for match in pattern.finditer(text)]
    if any("agpl" in match or "affero" in match for match in matches):
        return "AGPL"
    return "GPL" if matches else None


def needed(requirement: str) -> dict[str, Distribution]:
    """The installed packages that a requirement brings, itself included, by name.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    packages: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    queue = [Requirement(requirement)]
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            packages[name] = distribution(name)
            for line in packages[name].requires or ():
                required = Requirement(line)
                if required.marker is None or required.marker.evaluate({"extra": extra}):
                    queue.append(required)
    return packages


def main() -> int:
    """Print the findings that are not allowed. Returns the exit status."""
    packages = needed(f"isotrope[{','.join(EXTRAS)}]")
    refused = [f for package in packages.values() for f in findings(package) if not is_allowed(f)]
    for finding in sorted(refused):
        print(f"{finding.package}: {finding.licence} ({finding.source})")
    print(f"{len(packages)} packages, {len({f.package for f in refused})} under the GPL or AGPL")
    return 1 if refused else 0


def is_allowed(finding: Finding) -> bool:
    """Whether `ALLOWED` holds the finding."""
    return any(
        fnmatch(finding.package, pattern) and finding.licence == licence
        for pattern, (licence, _) in ALLOWED.items()
    )


if __name__ == "__main__":
    sys.exit(main())
