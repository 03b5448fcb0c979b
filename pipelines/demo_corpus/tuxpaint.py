"""Reads Tux Paint's stamps, a Debian package, as samples."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.demo_corpus import debian
from pipelines.demo_corpus.rasterise import rasterise
from pipelines.demo_corpus.shards import Sample

PACKAGE = "tuxpaint-stamps-default"
STAMPS = "usr/share/tuxpaint/stamps"
LICENSE = "GPL-2"

_SOUNDS = ("{}.ogg", "{}.wav")
_SPEECH = ("{}_desc.ogg", "{}_desc_en.ogg", "{}_desc_en_GB.ogg", "{}_en.ogg", "{}_en_GB.ogg")


def fetch(cache: Path, progress: Callable[[str], None]) -> Path:
    """Fetch the package (160 MB) with `debian.fetch`. Raises SourceError as it does."""
    return debian.fetch(PACKAGE, cache, progress)


@contextmanager
def unpacked(package: Path, cache: Path) -> Iterator[Path]:
    """The folder of stamps in the package, unpacked with `debian.unpacked`. Raises SourceError."""
    with debian.unpacked(package, cache) as root:
        yield root / STAMPS


def read(root: Path, package: str, progress: Callable[[str], None]) -> Iterator[Sample]:
    """Read the stamps beneath `root` that have an image and an English caption, sorted by path.

    The image is the stamp's PNG unchanged, else its SVG as a PNG. The audio is the stamp's sound,
    else its spoken English description. The JSON holds `captions` (language to text), `category`,
    `license`, `package`, and `audio` (sound or speech) where there is audio.

    Args:
        root: the folder of stamps.
        package: the package's name and version, for the JSON.
        progress: called with messages.
    """
    paths = sorted(root.rglob("*.txt"))
    for number, path in enumerate(paths, 1):
        if number % 100 == 0 or number == len(paths):
            progress(f"{number} of {len(paths)} stamps")
        caption, others = _captions(path)
        try:
            image = _image(path)
        except ValueError as error:
            progress(f"{path.relative_to(root)}: its drawing cannot be read: {error}")
            continue
        if not caption or image is None:
            continue
        category = path.parent.relative_to(root).as_posix()
        meta = {"captions": others, "category": category, "license": LICENSE, "package": package}
        files = {"png": image, "txt": caption.encode()}
        kind, audio = _audio(path)
        if audio:
            files[audio.suffix[1:]] = audio.read_bytes()
            meta["audio"] = kind
        files["json"] = json.dumps(meta, ensure_ascii=False, sort_keys=True).encode()
        yield Sample(f"{category}/{path.stem.replace('.', '_')}", files)


def _captions(path: Path) -> tuple[str, dict[str, str]]:
    """The English caption, and those in other languages by language code (`de`, `pt_BR`)."""
    first, *rest = path.read_text("utf-8", errors="replace").splitlines() or [""]
    others = {}
    for line in rest:
        language, marker, caption = line.partition(".utf8=")
        if marker and caption.strip() and "\ufffd" not in caption:
            others[language.strip()] = caption.strip()
    return first.strip(), others


def _image(path: Path) -> bytes | None:
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    if png.is_file():
        return png.read_bytes()
    return rasterise(svg.read_bytes()) if svg.is_file() else None


def _audio(path: Path) -> tuple[str, Path | None]:
    """The kind of a stamp's recording (sound or speech) and its file; ("", None) without one."""
    for kind, names in (("sound", _SOUNDS), ("speech", _SPEECH)):
        for name in names:
            audio = path.with_name(name.format(path.stem))
            if audio.is_file():
                return kind, audio
    return "", None
