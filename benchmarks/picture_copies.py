"""Find planted copies of pictures: crops, rotations, mirror images, small ones.

    isotrope demo demo
    python -m benchmarks.picture_copies demo                        # the demonstration's stamps
    python -m benchmarks.picture_copies FOLDERS --copied 60 --misses    # photographs

Prints the recall of `duplicates: {crops: ...}` by kind of copy, its false pairs, and its cost.
docs/duplicates.md says which Debian packages have photographs.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from PIL import Image, ImageOps

from benchmarks.machine import timed
from benchmarks.photographs import Photograph, read_photographs
from embedders.media.image import load_rgb, open_image
from pipelines.duplicates.images import crops
from pipelines.duplicates.pair_joins import Pairs, collect_pairs
from pipelines.reports.curation.exclusion import wilson
from pipelines.signals.decoded_image import decode_reduced
from pipelines.signals.scorers.image_local import FEATURES, score
from store.tables.signals import VIEW
from store.workspace import Workspace

Picture = Image.Image
_LEAST_SIDE, _LEAST_FEATURES = 64, 32
_SIGNS = ("alphabets", "/math/")  # folders of letters, digits and operators


def crop(rng: np.random.Generator, picture: Picture, share: float) -> Picture:
    """A part of a picture at a random place; `share` of each side is cut off."""
    width, height = (max(1, round(side * (1 - share))) for side in picture.size)
    x, y = rng.integers(0, np.array(picture.size) - (width, height) + 1).tolist()
    return picture.crop((x, y, x + width, y + height))


def turn(rng: np.random.Generator, picture: Picture, expand: bool) -> Picture:
    """A picture turned by any angle on white; without `expand`, its corners are cut off."""
    angle = rng.uniform(0, 360)
    return picture.rotate(angle, Image.Resampling.BICUBIC, expand=expand, fillcolor="white")


def half(picture: Picture) -> Picture:
    """A picture at half the size."""
    sides = (max(1, side // 2) for side in picture.size)
    return picture.resize(tuple(sides), Image.Resampling.LANCZOS)  # type: ignore[arg-type]


PARTS = [f"{share}% off both sides" for share in (5, 10, 20, 30)]
AREA, TURNED = "30% of the area", "turned, corners cut off"
GROUPS = {
    "crops of up to 30% of the area": [*PARTS[:2], AREA],
    "crops of up to 30% off both sides": PARTS,
    "turned": ["turned by a right angle", "turned by any angle", TURNED],
}


KINDS: dict[str, Callable[[np.random.Generator, Picture], Picture]] = {
    "half the size": lambda rng, p: half(p),
    "20% brighter": lambda rng, p: p.point(lambda value: min(255, round(value * 1.2))),
    "greyscale": lambda rng, p: p.convert("L"),
    **{
        kind: lambda rng, p, kind=kind: crop(rng, p, int(kind.partition("%")[0]) / 100)
        for kind in PARTS
    },
    AREA: lambda rng, p: crop(rng, p, 1 - 0.7**0.5),
    "turned by a right angle": lambda rng, p: p.transpose(Image.Transpose(int(rng.integers(2, 5)))),
    "turned by any angle": lambda rng, p: turn(rng, p, True),
    TURNED: lambda rng, p: turn(rng, p, False),
    "mirrored": lambda rng, p: ImageOps.mirror(p),
    "20% off, half the size": lambda rng, p: half(crop(rng, p, 0.2)),
}
QUALITY = 85  # of the JPEG that every copy is stored as; one more kind has 40


def copies(rng: np.random.Generator, picture: Picture) -> dict[str, bytes]:
    """The copies of a picture by kind, as JPEG files."""
    out = {kind: jpeg(change(rng, picture), QUALITY) for kind, change in KINDS.items()}
    return out | {"JPEG at quality 40": jpeg(picture, 40)}


def jpeg(picture: Picture, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


class Measured(NamedTuple):
    """Pictures and their copies, in this order, (n,) each.

    Attributes:
        names: of the pictures, which come before the copies.
        kind: "original", or the kind of the copy.
        source: the index of the picture that it is, or is copied from.
        side: pixels of the shorter side of this picture.
        is_sign: whether this picture is a letter, a digit or an operator.
        features, views: the signals `image_keypoints` and `image_view`.
    """

    names: list[str]
    kind: np.ndarray
    source: np.ndarray
    side: np.ndarray
    is_sign: np.ndarray
    features: np.ndarray
    views: np.ndarray


def measured(originals: Sequence[Photograph], copied: int, seed: int) -> Measured:
    """Measure pictures, and all kinds of copies of some of them."""
    rng = np.random.default_rng(seed)
    cost, values = timed(lambda: [score(decode_reduced(picture.data)) for picture in originals])
    print(f"measuring: {1000 * cost.cpu / len(originals):.0f} ms of processor time a picture")
    kinds, sources = ["original"] * len(originals), list(range(len(originals)))
    for number in rng.permutation(len(originals))[:copied].tolist():
        picture = load_rgb(open_image(originals[number].data)[1], 4096)
        for kind, data in copies(rng, picture).items():
            values.append(score(decode_reduced(data)))
            kinds.append(kind)
            sources.append(number)
    names = [picture.name for picture in originals]
    side = np.array([min(Image.open(io.BytesIO(picture.data)).size) for picture in originals])
    is_sign = np.array([any(sign in name for sign in _SIGNS) for name in names])
    features = np.array([np.frombuffer(value["image_keypoints"], FEATURES)[0] for value in values])
    views = np.array([np.frombuffer(value["image_view"], np.uint8) for value in values])
    source = np.array(sources)
    views = views.reshape(-1, VIEW, VIEW, 3)
    return Measured(names, np.array(kinds), source, side[source], is_sign[source], features, views)


def search(m: Measured, threshold: float) -> Pairs:
    """The pairs that `duplicates: {crops: ...}` finds."""
    order = np.arange(len(m.kind))

    def pairs() -> Pairs:
        blocks = crops.near_blocks(order, m.features.__getitem__, m.views.__getitem__, threshold)
        return collect_pairs(blocks, len(order))

    cost, found = timed(pairs)
    print(f"searching: {1000 * cost.cpu / len(order):.0f} ms of processor time a picture")
    return found


def stamps(corpus: Path) -> list[Photograph]:
    """The pictures of a corpus, each once."""
    table = (
        Workspace.open(corpus)
        .tables.open("samples")
        .to_table(columns=["image_id", "key", "image"], filter="image IS NOT NULL")
    )
    rows = {row["image_id"]: row for row in table.to_pylist()}
    return [Photograph(row["key"], row["image"]) for row in rows.values()]


@click.command()
@click.argument("paths", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
@click.option("--copied", default=30, help="How many of the pictures are copied.")
@click.option("--threshold", default=0.8, help="As in corpus.yaml.")
@click.option("--seed", default=0)
@click.option("--misses", is_flag=True, help="List the copies that are not found.")
def main(paths: tuple[Path, ...], copied: int, threshold: float, seed: int, misses: bool) -> None:
    """Print the figures of docs/duplicates.md, for a corpus, or for files and folders of
    photographs."""
    is_corpus = (paths[0] / "corpus.yaml").exists()
    m = measured(stamps(paths[0]) if is_corpus else read_photographs(paths), copied, seed)
    pairs = search(m, threshold)
    is_original, is_one = m.kind == "original", m.source[pairs.a] == m.source[pairs.b]
    found = np.zeros(len(m.kind), bool)
    found[pairs.b[is_original[pairs.a] & is_one]] = True
    large = m.side >= _LEAST_SIDE
    detailed = large & (m.features["count"][m.source] >= _LEAST_FEATURES)
    print(
        f"pictures: {len(m.names)}; copied: {copied}, of {_LEAST_SIDE} pixels or more and"
        f" {_LEAST_FEATURES} features: {(detailed & (m.kind == 'mirrored')).sum()}"
    )
    print(f"| copy | found | of {_LEAST_SIDE} pixels or more | and {_LEAST_FEATURES} features |")
    print("|---|---|---|---|")
    for name in dict.fromkeys(m.kind[~is_original].tolist()):
        shares = (found[(m.kind == name) & mask].mean() for mask in (True, large, detailed))
        print(f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    print("| copies | number | found | 95% interval |\n|---|---|---|---|")
    for name, kinds in GROUPS.items():
        of_group = found[np.isin(m.kind, kinds)]
        low, high = wilson(int(of_group.sum()), len(of_group), 0.05)
        print(f"| {name} | {len(of_group)} | {of_group.mean():.3f} | {low:.3f} to {high:.3f} |")
    pictures = ~(m.is_sign[pairs.a] & m.is_sign[pairs.b])
    both = is_original[pairs.a] & is_original[pairs.b]
    print(
        f"pairs: {len(pairs)}, of one picture: {is_one.mean():.4f}; without pairs of letters and"
        f" signs: {pictures.sum()}, of one picture: {is_one[pictures].mean():.4f}"
    )
    print(f"pairs of different pictures: {both.sum()}, without signs: {(both & pictures).sum()}")
    for a, b, same in zip(pairs.a, pairs.b, pairs.similarity, strict=True):
        if is_original[b] and not (m.is_sign[a] and m.is_sign[b]):
            print(f"  {same:.3f} {m.names[a]} {m.names[b]}")
    for number in np.flatnonzero(~found & ~is_original).tolist() if misses else ():
        count = m.features["count"][[m.source[number], number]].tolist()
        print(f"  missed: {m.names[m.source[number]]}, {m.kind[number]}, features {count}")


if __name__ == "__main__":
    main()
