"""Time of the explorer's map, and the size of its answer, by rows of the gallery.

python -m benchmarks.explorer_map 20000 1000000 --dim 256
"""

import tempfile
import time

import click
import numpy as np

import tests.helpers.made_release as made
from orchestration.server.map_route import _MAP
from store.search.corpus_map import corpus_map


@click.command()
@click.argument("rows", type=int, nargs=-1, required=True)
@click.option("--dim", default=256, show_default=True, help="Dimensions of the space.")
def main(rows: tuple[int, ...], dim: int) -> None:
    """Make releases of random vectors, and draw the map of their images."""
    made.DIM = dim
    print("| rows | points | seconds | MB of JSON |\n|---|---|---|---|")
    for count in rows:
        with tempfile.TemporaryDirectory() as folder:
            corpus = made.make_release(folder, count).corpus
            started = time.perf_counter()
            drawn = corpus_map(corpus, "image", "text")
            content = _MAP.dump_json(drawn)
            seconds = time.perf_counter() - started
            megabytes = np.round(len(content) / 1e6, 1)
            print(f"| {count:,} | {len(drawn.x):,} | {seconds:.1f} | {megabytes} |", flush=True)


if __name__ == "__main__":
    main()
