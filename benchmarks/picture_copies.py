"""Find planted copies of the demonstration's stamps: crops, rotations, mirror images, small ones.

    isotrope demo demo
    python -m benchmarks.picture_copies demo [--stamps 30]

Prints the recall of `duplicates: {crops: ...}` by kind of copy, its false pairs, and its cost.
"""

import io
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageOps

from benchmarks.machine import timed
from embedders.media.image import load_rgb, open_image
from pipelines.duplicates.images import crops
from pipelines.duplicates.pair_joins import Pairs, collect_pairs
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


KINDS: dict[str, Callable[[np.random.Generator, Picture], Picture]] = {
    "half the size": lambda rng, p: half(p),
    "20% brighter": lambda rng, p: p.point(lambda value: min(255, round(value * 1.2))),
    "greyscale": lambda rng, p: p.convert("L"),
    **{
        f"{share}% off both sides": lambda rng, p, share=share: crop(rng, p, share / 100)
        for share in (5, 10, 20, 30)
    },
    "30% of the area": lambda rng, p: crop(rng, p, 1 - 0.7**0.5),
    "turned by a right angle": lambda rng, p: p.transpose(Image.Transpose(int(rng.integers(2, 5)))),
    "turned by any angle": lambda rng, p: turn(rng, p, True),
    "turned, corners cut off": lambda rng, p: turn(rng, p, False),
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


@click.command()
@click.argument("corpus", type=click.Path(exists=True, path_type=Path))
@click.option("--stamps", default=30, help="How many of the corpus's pictures are copied.")
@click.option("--threshold", default=0.8, help="As in corpus.yaml.")
@click.option("--seed", default=0)
def main(corpus: Path, stamps: int, threshold: float, seed: int) -> None:
    """Print the figures of docs/duplicates.md."""
    rng = np.random.default_rng(seed)
    table = (
        Workspace.open(corpus)
        .tables.open("samples")
        .to_table(columns=["image_id", "key", "image"], filter="image IS NOT NULL")
    )
    stored = {row["image_id"]: row for row in table.to_pylist()}
    originals = list(stored.values())
    cost, measured = timed(lambda: [score(decode_reduced(row["image"])) for row in originals])
    print(f"measuring: {1000 * cost.cpu / len(originals):.0f} ms of processor time a picture")
    sides, kinds, sources = [], ["original"] * len(originals), list(range(len(originals)))
    for number in rng.permutation(len(originals))[:stamps].tolist():
        picture = load_rgb(open_image(originals[number]["image"])[1], 4096)
        for kind, data in copies(rng, picture).items():
            measured.append(score(decode_reduced(data)))
            kinds.append(kind)
            sources.append(number)
    sides = np.array([min(Image.open(io.BytesIO(row["image"])).size) for row in originals])
    features = np.array([np.frombuffer(m["image_keypoints"], FEATURES)[0] for m in measured])
    views = np.array([np.frombuffer(m["image_view"], np.uint8) for m in measured])
    views = views.reshape(-1, VIEW, VIEW, 3)
    order = np.arange(len(measured))

    def search() -> Pairs:
        blocks = crops.near_blocks(order, features.__getitem__, views.__getitem__, threshold)
        return collect_pairs(blocks, len(order))

    cost, pairs = timed(search)
    print(f"searching: {1000 * cost.cpu / len(order):.0f} ms of processor time a picture")
    kind, source = np.array(kinds), np.array(sources)
    is_original = order < len(originals)
    found = np.zeros(len(order), bool)
    found[pairs.b[is_original[pairs.a] & (source[pairs.a] == source[pairs.b])]] = True
    large = sides[source] >= _LEAST_SIDE
    detailed = large & (features["count"][source] >= _LEAST_FEATURES)
    print(f"| copy | found | of {_LEAST_SIDE} pixels or more | and {_LEAST_FEATURES} features |")
    print("|---|---|---|---|")
    for name in dict.fromkeys(kinds[len(originals) :]):
        shares = (found[(kind == name) & mask].mean() for mask in (True, large, detailed))
        print(f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    sign = np.array([any(s in row["key"] for s in _SIGNS) for row in originals])[source]
    false = source[pairs.a] != source[pairs.b]
    pictures = ~(sign[pairs.a] & sign[pairs.b])
    stamp = is_original[pairs.a] & is_original[pairs.b]
    print(
        f"stamps copied: {stamps}, of {_LEAST_SIDE} pixels or more and {_LEAST_FEATURES}"
        f" features: {(detailed & (kind == 'mirrored')).sum()}"
    )
    print(
        f"pairs: {len(pairs)}, of one stamp: {(~false).mean():.4f}; without pairs of letters and"
        f" signs: {pictures.sum()}, of one stamp: {(~false)[pictures].mean():.4f}"
    )
    print(f"pairs of different stamps: {stamp.sum()}, of pictures: {(stamp & pictures).sum()}")
    for a, b, same in zip(pairs.a, pairs.b, pairs.similarity, strict=True):
        if is_original[b] and not (sign[a] and sign[b]):
            print(f"  {same:.3f} {originals[a]['key']} {originals[b]['key']}")


if __name__ == "__main__":
    main()
