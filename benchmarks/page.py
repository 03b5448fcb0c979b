"""Measure Dagster's page on a corpus of many drops: its start, and the queries of its views.

    python -m benchmarks.page 10000

The corpus is that of `benchmarks.planning`. The first start reports the tables of all drops to an
empty log; the second start is the usual one.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.planning import make_corpus
from tests.helpers.deployment import query
from tests.helpers.postgres import free_port

_MOST_SECONDS = 3600
_VIEWS = {
    "graph of assets": "{assetNodes {assetKey {path} partitionStats {numMaterialized numPartitions"
    " numFailed} assetMaterializations(limit: 1) {runId}}}",
    "partitions of samples": '{assetNodeOrError(assetKey: {path: ["samples"]}) {... on AssetNode'
    " {partitionKeysByDimension {partitionKeys} assetPartitionStatuses {__typename}}}}",
    "runs": "{runsOrError(limit: 25) {... on Runs {results {id}}}}",
}


def measure(root: Path) -> None:
    """Start the page, print its times, and end it."""
    port = free_port()
    command = [sys.executable, "-m", "orchestration.cli.main", "dev", "--corpus", str(root)]
    started = time.monotonic()
    page = subprocess.Popen([*command, "--port", str(port)], start_new_session=True)
    try:
        while not query(port, "{assetNodes {id}}").get("assetNodes"):
            if page.poll() is not None or time.monotonic() - started > _MOST_SECONDS:
                raise SystemExit("the page did not start")
            time.sleep(0.5)
        print(f"start: {time.monotonic() - started:.1f} s")
        for name, text in _VIEWS.items():
            query(port, text)
            started = time.monotonic()
            size = len(json.dumps(query(port, text)))
            print(f"{name}: {time.monotonic() - started:.2f} s, {size:,} bytes")
    finally:
        os.killpg(page.pid, signal.SIGINT)
        page.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("drops", type=int)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "corpus"
        make_corpus(root, parser.parse_args().drops)
        for _ in range(2):
            measure(root)


if __name__ == "__main__":
    main()
