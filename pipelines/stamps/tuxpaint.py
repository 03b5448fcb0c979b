"""Tux Paint's stamps: fetched with apt, unpacked without root, read as samples."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.stamps.drawings import rasterise
from pipelines.stamps.shards import Sample
from store.errors import SourceError

PACKAGE = "tuxpaint-stamps-default"
STAMPS = "usr/share/tuxpaint/stamps"
LICENSE = "GPL-2"

_TIMEOUT = 900
_SOUNDS = ("{}.ogg", "{}.wav")
_SPEECH = ("{}_desc.ogg", "{}_desc_en.ogg", "{}_desc_en_GB.ogg", "{}_en.ogg", "{}_en_GB.ogg")


def fetch(cache: Path, progress: Callable[[str], None]) -> Path:
    """The .deb, from `cache` or from the machine's Debian mirror (160 MB); needs no root.

    Raises SourceError where there is no apt, or it cannot get the package.
    """
    kept = sorted(cache.glob(f"{PACKAGE}_*.deb"))
    if kept:
        return kept[-1]
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SourceError(f"{tool} is not there: the stamps are a package of Debian and Ubuntu")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=cache) as scratch:
        progress(f"Downloading {PACKAGE} (about 160 MB)")
        try:
            _apt(["download", PACKAGE], scratch)
        except SourceError:
            # No list of packages, or one that is out of date: we take our own and leave the
            # machine's as it is, which needs no root either.
            progress("Fetching the list of packages first")
            lists = Path(scratch, "lists")
            (lists / "partial").mkdir(parents=True)
            own = [f"-oDir::State::Lists={lists}", f"-oDir::Cache={scratch}"]
            if os.geteuid() == 0:
                own.append("-oAPT::Sandbox::User=root")
            _apt([*own, "update"], scratch)
            _apt([*own, "download", PACKAGE], scratch)
        found = sorted(Path(scratch).glob(f"{PACKAGE}_*.deb"))
        if not found:
            raise SourceError(f"apt-get download {PACKAGE} left no file")
        return Path(shutil.move(found[0], cache / found[0].name))


@contextmanager
def unpacked(package: Path, cache: Path) -> Iterator[Path]:
    """The package's stamps as a folder, for as long as the block lasts.

    Raises SourceError where the package is broken; it is removed then, to be fetched anew.
    """
    with tempfile.TemporaryDirectory(prefix=".stamps-", dir=cache) as scratch:
        try:
            _run(["dpkg-deb", "--extract", str(package), scratch], scratch)
        except SourceError:
            package.unlink(missing_ok=True)
            raise
        yield Path(scratch, STAMPS)


def read(root: Path, package: str, progress: Callable[[str], None]) -> Iterator[Sample]:
    """The stamps beneath `root` that have a picture and an English caption, by their path.

    PNG is taken as it is, before SVG, which is drawn. Audio is the stamp's sound, else its spoken
    English description. The JSON holds `captions` (language to text), `category`, `license`,
    `package`, and `audio` (sound or speech) where there is any.
    """
    paths = sorted(root.rglob("*.txt"))
    for number, path in enumerate(paths, 1):
        if number % 100 == 0 or number == len(paths):
            progress(f"{number} of {len(paths)} stamps")
        caption, others = _captions(path)
        try:
            picture = _picture(path)
        except ValueError as error:
            progress(f"{path.relative_to(root)}: its drawing cannot be read: {error}")
            continue
        if not caption or picture is None:
            continue
        category = path.parent.relative_to(root).as_posix()
        meta = {"captions": others, "category": category, "license": LICENSE, "package": package}
        files = {"png": picture, "txt": caption.encode()}
        kind, audio = _audio(path)
        if audio:
            files[audio.suffix[1:]] = audio.read_bytes()
            meta["audio"] = kind
        files["json"] = json.dumps(meta, ensure_ascii=False, sort_keys=True).encode()
        yield Sample(f"{category}/{path.stem.replace('.', '_')}", files)


def _captions(path: Path) -> tuple[str, dict[str, str]]:
    """The English caption, and those in other languages by their code (`de`, `pt_BR`)."""
    first, *rest = path.read_text("utf-8", errors="replace").splitlines() or [""]
    others = {}
    for line in rest:
        language, marker, caption = line.partition(".utf8=")
        if marker and caption.strip() and "\ufffd" not in caption:
            others[language.strip()] = caption.strip()
    return first.strip(), others


def _picture(path: Path) -> bytes | None:
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    if png.is_file():
        return png.read_bytes()
    return rasterise(svg.read_bytes()) if svg.is_file() else None


def _audio(path: Path) -> tuple[str, Path | None]:
    for kind, names in (("sound", _SOUNDS), ("speech", _SPEECH)):
        for name in names:
            audio = path.with_name(name.format(path.stem))
            if audio.is_file():
                return kind, audio
    return "", None


def _apt(arguments: list[str], folder: str) -> None:
    quick = ["-oAcquire::Retries=1", "-oAcquire::http::Timeout=20", "-oAcquire::https::Timeout=20"]
    _run(["apt-get", "--quiet", "--quiet", *quick, *arguments], folder)


def _run(command: list[str], folder: str) -> None:
    name = " ".join(word for word in command if not word.startswith("-"))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(f"{name}: {error}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise SourceError(f"{name}: {'; '.join(errors) or done.stderr.strip()[-300:]}")
