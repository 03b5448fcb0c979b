"""Writes PDF documents, sound and hostile, object by object."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Words:
    """A line of text: its lower left corner in points, and its size."""

    x: float
    y: float
    text: str
    size: float = 11


@dataclass(frozen=True)
class Picture:
    """An image of one colour: its lower left corner and its sides in points."""

    x: float
    y: float
    width: float
    height: float
    colour: Colour = (200, 40, 40)


Item = Words | Picture


def stream(fields: bytes, data: bytes) -> bytes:
    """A stream object: its dictionary's fields, and its data as they are stored."""
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (fields, len(data), data)


def pdf_of(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A file of these objects, numbered from 1 on. Object 1 is the catalogue."""
    out = bytearray(b"%PDF-1.7\n")
    starts = []
    for number, body in enumerate(objects, start=1):
        starts.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % start for start in starts)
    fields = b"/Size %d /Root 1 0 R %s" % (len(objects) + 1, trailer)
    return bytes(out + b"trailer\n<< %s >>\nstartxref\n%d\n%%%%EOF\n" % (fields, table))


def document(
    pages: Sequence[Sequence[Item]],
    size: tuple[float, float] = (595, 842),
    fields: bytes = b"",
    trailer: bytes = b"",
) -> bytes:
    """A document of pages with text and pictures.

    Args:
        pages: the items of each.
        size: of a page in points.
        fields: further fields of each page's dictionary, such as b"/Rotate 90".
        trailer: further fields of the file's trailer.
    """
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", font]
    kids = []
    for items in pages:
        content, images = bytearray(), b""
        for number, item in enumerate(items):
            if isinstance(item, Words):
                text = item.text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
                content += b"BT /F %g Tf %g %g Td (%s) Tj ET\n" % (
                    *(item.size, item.x, item.y),
                    text.encode("latin-1"),
                )
                continue
            kind = b"/Type /XObject /Subtype /Image /Width 4 /Height 4 /ColorSpace /DeviceRGB"
            pixels = zlib.compress(bytes(item.colour) * 16)
            objects.append(stream(kind + b" /BitsPerComponent 8 /Filter /FlateDecode", pixels))
            images += b"/I%d %d 0 R " % (number, len(objects))
            content += b"q %g 0 0 %g %g %g cm /I%d Do Q\n" % (
                *(item.width, item.height, item.x, item.y),
                number,
            )
        objects.append(stream(b"", bytes(content)))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %g %g] /Contents %d 0 R %s"
            b" /Resources << /Font << /F 3 0 R >> /XObject << %s >> >> >>"
            % (*size, len(objects), fields, images)
        )
        kids.append(len(objects))
    listed = b" ".join(b"%d 0 R" % kid for kid in kids)
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), listed)
    return pdf_of(objects, trailer)


def one_page(content: bytes, *objects: bytes, resources: bytes = b"", box: bytes = b"0 0 595 842"):
    """A document of one page with any content. `objects` are numbered from 5 on."""
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Contents 4 0 R /Resources << %s >> >>"
            % (box, resources),
            content,
            *objects,
        ]
    )


def encrypted() -> bytes:
    """A document that only a password opens."""
    keys = b"/O <%s> /U <%s>" % (b"ab" * 32, b"cd" * 32)
    fields = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 %s >> /ID [<00> <00>]" % keys
    return document([[Words(50, 700, "secret")]], trailer=fields)


def shared_pages(depth: int) -> bytes:
    """A tree of 1000 ** `depth` pages in a few kB: each node lists the next one 1000 times."""
    nodes = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    for level in range(depth):
        kids = b"%d 0 R " % (level + 3) * 1000
        nodes.append(b"<< /Type /Pages /Count %d /Kids [%s] >>" % (1000 ** (depth - level), kids))
    nodes.append(b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 100 100] >>" % (depth + 1))
    return pdf_of(nodes)


def claimed_pages(count: int) -> bytes:
    """A document of one page whose tree claims more."""
    return document([[Words(50, 700, "the only page")]]).replace(
        b"/Count 1 ", b"/Count %d " % count
    )


def bomb(gigabytes: int) -> bytes:
    """A page whose content is packed twice: some kB that become gigabytes of spaces."""
    packer = zlib.compressobj(9)
    start = packer.compress(b" " * (1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush equal input gives equal output. The checksum at the end is wrong.
    block = packer.compress(b" " * (1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    inner = start + block * (64 * gigabytes - 1) + packer.flush()
    return one_page(stream(b"/Filter [/FlateDecode /FlateDecode]", zlib.compress(inner, 9)))


def image_bomb(side: int) -> bytes:
    """A page with an image that claims `side` squared pixels."""
    size = b"/Width %d /Height %d /ColorSpace /DeviceRGB" % (side, side)
    pixels = zlib.compress(bytes(1 << 20))
    return one_page(
        stream(b"", b"q 400 0 0 400 50 50 cm /I Do Q"),
        stream(
            b"/Type /XObject /Subtype /Image /BitsPerComponent 8 /Filter /FlateDecode " + size,
            pixels,
        ),
        resources=b"/XObject << /I 5 0 R >>",
    )


def self_drawing() -> bytes:
    """A page with a form that draws itself twice."""
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 595 842]"
    return one_page(
        stream(b"", b"/X Do"),
        stream(form + b" /Resources << /XObject << /X 5 0 R >> >>", b"/X Do /X Do 0 0 9 9 re f"),
        resources=b"/XObject << /X 5 0 R >>",
    )


def forms_of_forms(depth: int, width: int) -> bytes:
    """Forms that draw the next one `width` times: width ** depth rectangles, in a few kB."""
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 595 842]"
    forms = [
        stream(
            form + b" /Resources << /XObject << /X %d 0 R >> >>" % (6 + level), b"/X Do " * width
        )
        for level in range(depth)
    ]
    last = stream(form, b"0 0 9 9 re f")
    return one_page(stream(b"", b"/X Do"), *forms, last, resources=b"/XObject << /X 5 0 R >>")


def looped_tree() -> bytes:
    """A tree of pages whose node is its own child."""
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Count 3 /Kids [2 0 R 3 0 R 2 0 R] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>",
        ]
    )


def nested(depth: int) -> bytes:
    """A page with arrays in arrays."""
    return one_page(stream(b"", b""), b"[" * depth + b"]" * depth, resources=b"/X 5 0 R")
