"""`make soak`: many faults on whole runs. Prints the seed, so that a failure can be repeated."""

import argparse
import random
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.soak.faults import CURATION, WHOLE
from tests.soak.soak import Soak


def main() -> None:
    """Run the soak that the arguments describe."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--curation", action="store_true", help="only stages without Ray")
    parser.add_argument("--samples", type=int, default=120, help="in each of two drops")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with TemporaryDirectory() as folder:
        faults = CURATION if given.curation else WHOLE
        soak = Soak(Path(folder), faults, not given.curation, given.seed, given.samples)
        soak.run(given.faults)
    print(f"{soak.injected.total()} faults, equal tables: {dict(soak.injected)}")


if __name__ == "__main__":
    main()
