"""Call a server with requests that schemathesis makes from its description: no answer may be a 5xx.

    PYTHONPATH=. python benchmarks/fuzz_server.py             # 10,000 requests, some 8 minutes
    PYTHONPATH=. python benchmarks/fuzz_server.py --seed 70   # other requests

Half of the requests are invalid on purpose. The first failure ends the run with the request that
caused it. `make test` and `make test-slow` make a few hundred of the same requests.
"""

import argparse
import tempfile
import time
from pathlib import Path

from tests.helpers.fuzz import call_all
from tests.helpers.served import served, stored_corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=10_000, help="at least")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    total, seed, started = 0, options.seed, time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        served(stored_corpus(Path(folder) / "corpus").root) as server,
    ):
        while total < options.requests:
            statuses = call_all(server.url, 100, seed)
            total += sum(statuses.values())
            seconds = time.perf_counter() - started
            answers = ", ".join(f"{n:,} x {s}" for s, n in sorted(statuses.items()))
            print(f"seed {seed}: {answers}; {total:,} requests in {seconds:.0f} s", flush=True)
            seed += 1


if __name__ == "__main__":
    main()
