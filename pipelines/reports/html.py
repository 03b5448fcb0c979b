"""Renders HTML pages from the templates of this folder, with images inline.

A page loads nothing from anywhere and forbids scripts by a content security policy. Its texts come
from the data and may be hostile, so the templates escape every value.
"""

import base64
import math
from datetime import datetime
from pathlib import Path
from typing import Any

LONGEST = 300  # characters of one value: a caption may have a megabyte
_RASTER = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif", b"RIFF": "webp"}


def write(template: str, out: Path, **values: Any) -> Path:
    """Render a template of this folder to the file `out`; its folder is created."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, short=short, picture=inline, day=day)
    environment.tests["picturable"] = lambda hit: inline(hit.get("thumbnail"))
    page = environment.get_template(template).render(**values)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def number(value: Any, form: str = ",") -> str:
    """A number as text; a dash for None, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return "–"
    return format(value, form).replace("-", "−")


def day(moment: datetime) -> str:
    """A moment as text, to the minute."""
    return moment.strftime("%-d %B %Y, %H:%M UTC")


def short(value: Any, longest: int = LONGEST) -> str:
    """A value as text of at most `longest` characters; None as ""."""
    text = "" if value is None else str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def inline(data: bytes | None) -> str | None:
    """An encoded raster image as a data URL; None for anything else."""
    for magic, kind in _RASTER.items():
        if data and data.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return None
