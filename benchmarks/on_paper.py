"""Compute what LAION-5B would take, from measured rates and stated prices. Nothing is measured.

    python -m benchmarks.on_paper
    python -m benchmarks.on_paper --pairs 100000000

The rates are those of docs/scale.md (`benchmarks.growth`) and of docs/curation.md
(`benchmarks.signals`), in processor seconds per million pairs of an image and a caption, with 512
dimensions. Those of the image are of a JPEG of 44 kB. Rates of encoders on a GPU are assumptions.
"""

import argparse

from pipelines.duplicates.texts.band_ranges import rounds

PAIRS = 5_850_000_000
DROP = 10_000_000  # pairs
FRAGMENT = 1_000_000  # rows
UNIT_BYTES, MEDIA = 64e6, 44_000  # of a unit of a stage, and of an image
SIGNATURE = 256  # bytes a caption
LISTED, HASH = 40, 12  # bytes of a caption and of each of its hashes in `band_ranges.Piece`
MANIFEST = 92  # bytes a fragment (benchmarks.fragments)
EVENTS = 25  # of Dagster for each partition of an asset: a run's steps, logs and materialisation
CPU_HOUR, GPU_HOUR, GB_MONTH = 0.04, 2.5, 0.023  # dollars

# Processor seconds per million pairs. A large image: 0.31 ms more to check, 7.7 ms to measure.
SECONDS = {
    "samples": 143 + 310,
    "signals": 269 + 7_700,
    "vectors, without the model": 165,
    "pairs": 61,
    "duplicates: exact": 4,
    "duplicates: near captions": 42,
    "duplicates: near images": 280,
    "decisions": 1,
    "banks": 18,
    "gallery": 230,
    "index": 403,
    "release, first": 117,
}
# Bytes a pair.
BYTES = {
    "samples": MEDIA + 1_000,
    "signals": 80,
    "vectors": 4_138,
    "pairs": 73,
    "decisions": 21,
    "galleries": 4_864,
    "indexes": 1_055,
    "signatures of captions, if near captions are searched": 256,
    "hashes of images, if near images are searched": 512,
}
TABLES = {name for name in BYTES if " " not in name}
GPU_RATES = {"images": 2_500, "captions": 20_000}  # a second, one GPU: assumed for ViT-B/32


def table(names: list[str], rows: list[list[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def costs(pairs: int) -> str:
    """Processor hours of each stage."""
    millions, rows = pairs / 1e6, []
    for stage, seconds in SECONDS.items():
        hours = seconds * millions / 3600
        rows.append([stage, f"{seconds:,}", f"{hours:,.0f}", f"{hours * CPU_HOUR:,.0f}"])
    hours = sum(SECONDS.values()) * millions / 3600
    rows.append(["all", f"{sum(SECONDS.values()):,}", f"{hours:,.0f}", f"{hours * CPU_HOUR:,.0f}"])
    for what, rate in GPU_RATES.items():
        hours = pairs / rate / 3600
        note = f"encoding {what}, GPU hours at {rate:,} a second (assumed)"
        rows.append([note, "", f"{hours:,.0f}", f"{hours * GPU_HOUR:,.0f}"])
    return table(["stage", "processor s per million", "hours", "dollars"], rows)


def sizes(pairs: int) -> str:
    """Bytes and fragments of each table."""
    rows = []
    for name, size in (BYTES | {"all": sum(BYTES.values())}).items():
        parts = 2 if name in ("vectors", "galleries", "indexes") else 1
        fragments = f"{pairs * parts / FRAGMENT:,.0f}" if name in TABLES else ""
        dollars = size * pairs / 1e9 * GB_MONTH
        rows.append(
            [name, f"{size:,}", f"{size * pairs / 1e12:,.1f}", fragments, f"{dollars:,.0f}"]
        )
    return table(["table", "bytes a pair", "TB", "fragments", "dollars a month"], rows)


def counts(pairs: int) -> str:
    """What grows with drops, units and tasks."""
    drops, units = -(-pairs // DROP), pairs * MEDIA / UNIT_BYTES
    of_captions = list(rounds(0.7, pairs, 0))
    first, groups = of_captions[0], sum(len(each.groups) for each in of_captions)
    pieces = [pairs * (LISTED + HASH * len(each.groups[0].bands)) for each in of_captions]
    numbers = {
        "drops of 10 million pairs, which are Dagster's partitions": drops,
        "events of Dagster, 3 assets by drop": drops * 3 * EVENTS,
        "shards of 10,000 pairs": pairs / 1e4,
        "units of 64 MB, each a commit to the staging of its drop": units,
        "of these in one drop": units / drops,
        "commits to tables, 3 for each of the 3 stages of a drop": drops * 9,
        "MB of the largest manifest": 2 * pairs / FRAGMENT * MANIFEST / 1e6,
        "TB that exact copies shuffle, 150 bytes of ids and parts": pairs * 150 / 1e12,
        "rounds of near captions at 0.7, 32 bands": len(of_captions),
        "TB of signatures that these read, each all": len(of_captions) * pairs * SIGNATURE / 1e12,
        "tasks of a round that divide hashes": len(first.blocks),
        "pieces of a round, objects of Ray's store": len(first.blocks) * len(first.groups),
        "TB of pieces of a round": max(pieces) / 1e12,
        "groups of ranges, each a task of one node where a round has one band": groups,
        "TB of pieces that these read": sum(pieces) / 1e12,
        "GB of pieces of a group": max(pieces) / len(first.groups) / 1e9,
        "TB of signatures that 65,536 candidates read by their rows, at most": pairs
        * SIGNATURE
        / 1e12,
        "GB of k-occurrence on the driver of a release": pairs * 8 / 1e9,
        "million rows in a partition of an index, which has 4,096": pairs / 4096 / 1e6,
    }
    rows = [[what, f"{n:,.0f}" if n >= 10 else f"{n:,.1f}"] for what, n in numbers.items()]
    return table(["", f"{pairs:,} pairs"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=PAIRS)
    pairs = parser.parse_args().pairs
    print("\n\n".join((costs(pairs), sizes(pairs), counts(pairs))))


if __name__ == "__main__":
    main()
