"""Measure the signals of edited images on photographs that are edited here.

    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 ukui-wallpapers \\
      mate-backgrounds    # and dpkg -x of each
    python -m benchmarks.edits usr/share/backgrounds usr/share/backgrounds/mate/nature

Photographs of the folders (JPEG) are reduced to 960 pixels, which removes their own traces, and two
squares of 480 pixels are cut from each. Each edit has its squares without the edit, saved in the
same way. The figure is the area under the ROC curve: 0.5 is chance.
"""

import argparse
import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.signals.decoded_image import decode_reduced, measure_image
from pipelines.signals.registry import DEFAULT_SCORERS
from pipelines.signals.scorer import ImageScorer
from pipelines.signals.scorers.image_edits import EDITS

SIDE, REDUCED = 480, 960
QUALITIES = ((60, 75), (75, 90), (85, 95), (90, 75), (95, 75), (75, 75))
PASTED = (96, 160)  # pixels
SCALES = (0.8, 1.1, 1.3, 1.5, 2.0, 3.0)
Save = Callable[[Image.Image], bytes]


def squares(folders: list[Path]) -> list[Image.Image]:
    """Two squares of each photograph."""
    cut = []
    for path in sorted(p for folder in folders for p in folder.glob("*.jpg")):
        image = Image.open(path).convert("RGB")
        scale = REDUCED / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        top = (image.height - SIDE) // 2
        cut += [image.crop((x, top, x + SIDE, top + SIDE)) for x in (0, image.width - SIDE)]
    return cut


def saved(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, **options)  # type: ignore[arg-type]
    return out.getvalue()


def jpeg(quality: int) -> Save:
    return partial(saved, format="JPEG", quality=quality)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def pasted(image: Image.Image, other: Image.Image, side: int, rng: np.random.Generator):
    """The image with a square of another one, off the grid of blocks."""
    x, y = (int(n) | 1 for n in rng.integers(0, SIDE - side - 1, 2))
    left, top = (int(n) for n in rng.integers(0, SIDE - side, 2))
    out = image.copy()
    out.paste(other.crop((left, top, left + side, top + side)), (x, y))
    return out


def scaled(image: Image.Image, scale: float) -> Image.Image:
    """The image scaled bicubically, its middle if it is larger then."""
    side = round(SIDE * scale)
    out = image.resize((side, side), Image.Resampling.BICUBIC)
    start = max(0, side - SIDE) // 2
    return out.crop((start, start, start + min(side, SIDE), start + min(side, SIDE)))


def signal(name: str, files: list[bytes]) -> np.ndarray:
    """A signal of files; 0 where it is null."""
    return np.array([EDITS.score(decode_reduced(data))[name] or 0.0 for data in files])


def area(without: np.ndarray, edited: np.ndarray) -> float:
    """The area under the ROC curve."""
    above = edited[:, None] > without
    return float((above + 0.5 * (edited[:, None] == without)).mean())


def milliseconds(files: list[bytes], scorers: list[ImageScorer]) -> float:
    """Processor time an image, with its decoding."""
    start = time.process_time()
    for data in files:
        measure_image(data, scorers)
    return 1000 * (time.process_time() - start) / len(files)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    images = squares(parser.parse_args().folders)
    others = [images[(7 * n + 5) % len(images)] for n in range(len(images))]
    rng = np.random.default_rng(0)
    heads = " | ".join(f"{side} pixels pasted" for side in PASTED)
    lines = [f"{len(images)} squares of {SIDE} pixels", ""]
    lines += [f"| first, second quality | compressed twice | {heads} |", "|---|---|---|---|"]
    for first, second in QUALITIES:
        save = jpeg(second)
        once = [opened(jpeg(first)(image)) for image in images]
        twice = [save(image) for image in once]
        plain = signal("image_double_jpeg", [save(image) for image in images])
        cells = [area(plain, signal("image_double_jpeg", twice))]
        whole = signal("image_splice", twice)
        for side in PASTED:
            pairs = zip(once, others, strict=True)
            spliced = [save(pasted(a, b, side, rng)) for a, b in pairs]
            cells.append(area(whole, signal("image_splice", spliced)))
        lines.append(f"| {first}, {second} | {' | '.join(f'{c:.2f}' for c in cells)} |")
    saves = {"PNG": partial(saved, format="PNG"), "JPEG 95": jpeg(95), "JPEG 85": jpeg(85)}
    lines += ["", f"| scaled by | {' | '.join(saves)} |", "|---|---|---|---|"]
    plain_of = {n: signal("image_resampled", list(map(s, images))) for n, s in saves.items()}
    for scale in SCALES:
        resized = [scaled(image, scale) for image in images]
        cells = [
            area(plain_of[name], signal("image_resampled", list(map(save, resized))))
            for name, save in saves.items()
        ]
        lines.append(f"| {scale} | {' | '.join(f'{c:.2f}' for c in cells)} |")
    scorers = [s for s in DEFAULT_SCORERS if isinstance(s, ImageScorer) and s.name != "image_local"]
    lines += ["", "| | ms an image, these signals | all others of images |", "|---|---|---|"]
    for side in (SIDE, 1024):
        files = [jpeg(90)(image.resize((side, side))) for image in images]
        times = [milliseconds(files, [EDITS]), milliseconds(files, scorers)]
        lines.append(f"| {side} pixels | {times[0]:.0f} | {times[1]:.0f} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
