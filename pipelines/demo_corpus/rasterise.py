"""Converts SVG to PNG. Nothing that the drawing refers to is fetched or read."""

import xml.etree.ElementTree as ElementTree

import resvg_py

SIDE = 512

_EMBEDDED = ("#", "data:image/png", "data:image/jpeg", "data:image/gif", "data:image/webp")


def rasterise(svg: bytes) -> bytes:
    """Draw an SVG as a PNG whose longer side is 512 pixels, with its transparency.

    Fonts of the machine are not used, so that the PNG is the same on every machine.

    Raises:
        ValueError: the drawing cannot be read.
    """
    return resvg_py.svg_to_bytes(
        svg_string=_without_references(svg), width=SIDE, height=SIDE, dpi=96, skip_system_fonts=True
    )


def _without_references(svg: bytes) -> str:
    # ElementTree resolves no external entities. resvg would open any path in an `href`.
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            is_reference = name == "href" or name.endswith("}href")
            if is_reference and not value.strip().lower().startswith(_EMBEDDED):
                del element.attrib[name]
    return ElementTree.tostring(root, encoding="unicode")
