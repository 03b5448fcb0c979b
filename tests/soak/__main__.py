"""`make soak`: many faults on whole runs. Prints the seed, so that a failure can be repeated.

After each episode, its faults are added to the counts in docs/guarantees.md.
"""

import argparse
import random
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.helpers.stores import s3_server
from tests.soak.counts import add_counts, clear_counts
from tests.soak.soak import Soak, plan


def main() -> None:
    """Run the soak that the arguments describe."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--only", default="", help="a part of a fault, a kind, or a store")
    parser.add_argument("--add", action="store_true", help="keep the counts of earlier soaks")
    parser.add_argument("--folder", type=Path, help="for corpora; those that fail stay there")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    faults = plan(given.faults, random.Random(given.seed), given.only)
    with (
        TemporaryDirectory() as temporary,
        s3_server() as server,
        Soak(given.folder or Path(temporary), server, given.seed) as soak,
    ):
        if not given.add:
            clear_counts()
        soak.run(faults, lambda injected: add_counts(injected, given.seed))
        print(f"{soak.injected.total()} faults, equal tables: {dict(soak.injected)}")


if __name__ == "__main__":
    main()
