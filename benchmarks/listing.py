"""Measure the listing of very many objects of a store: of a drop, and of files beside the tables.

    python -m benchmarks.listing --sizes 1000000 10000000

A server in a process of its own answers S3's ListObjectsV2, 1,000 keys a page, with keys that it
makes up: folders of 1,000 objects. moto's server, which the tests use, needs several KB a key and
sorts all keys for each page. `drop` is what `isotrope run` does to see whether a drop has changed:
all paths, sizes and ETags are hashed (`pipelines.sources.drops.listing_hash`). `files` is what
maintenance and staging do (`store.tables.files.Files.list`).

Each measurement runs in a process of its own. Seconds are those of its processors, without the
server's; memory is its peak above that after the imports.
"""

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, urlsplit

import psutil

from assets.metadata.usage import measured
from pipelines.sources.drops import find_drops, listing_hash
from store.tables.files import Files

_PAGE, _IN_FOLDER, _PREFIX = 1000, 1000, "drops/first/"
_KEY = (
    "<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)
_PAGE_OF_KEYS = (
    '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>corpus</Name><Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount>"
    "<MaxKeys>1000</MaxKeys><IsTruncated>{more}</IsTruncated>{next}{found}</ListBucketResult>"
)


def key_of(number: int) -> str:
    """The key of an object; keys are sorted by their numbers."""
    return f"{_PREFIX}{number // _IN_FOLDER:06d}/{number:09d}.jpg"


def page(keys: int, prefix: str, delimiter: str, token: str, most: int) -> str:
    """A page of the listing of a prefix: its folders with a delimiter, otherwise its objects."""
    if delimiter and not prefix.startswith(_PREFIX):
        # Above the folders: the one folder on the way to them.
        rest = _PREFIX[len(prefix) :] if _PREFIX.startswith(prefix) else ""
        folders = [prefix + rest.partition("/")[0] + "/"] if rest else []
        found, more, stop = _folders(folders), False, 0
    elif delimiter and prefix == _PREFIX:
        start = int(token or 0)
        folders_of_all = -(-keys // _IN_FOLDER)
        stop = min(start + most, folders_of_all)
        found = _folders([f"{_PREFIX}{n:06d}/" for n in range(start, stop)])
        more = stop < folders_of_all
    else:
        first, last = _span(prefix, keys)
        start = int(token or first)
        stop = min(start + most, last)
        found, more = "".join(_object(n) for n in range(start, stop)), stop < last
    following = f"<NextContinuationToken>{stop}</NextContinuationToken>" if more else ""
    return _PAGE_OF_KEYS.format(
        prefix=prefix,
        count=found.count("<Key>") + found.count("<CommonPrefixes>"),
        more=str(more).lower(),
        next=following,
        found=found,
    )


def _span(prefix: str, keys: int) -> tuple[int, int]:
    """The numbers of the objects below a prefix: one folder, or all."""
    folder = prefix.removeprefix(_PREFIX).partition("/")[0]
    if not prefix.startswith(_PREFIX) or not folder:
        return (0, keys) if _PREFIX.startswith(prefix) else (0, 0)
    first = int(folder) * _IN_FOLDER
    return first, min(first + _IN_FOLDER, keys)


def _object(number: int) -> str:
    tag = hashlib.blake2b(b"%d" % number, digest_size=16).hexdigest()
    return _KEY.format(key=key_of(number), tag=tag, size=number % 99_991)


def _folders(names: list[str]) -> str:
    return "".join(f"<CommonPrefixes><Prefix>{n}</Prefix></CommonPrefixes>" for n in names)


def serve(keys: int, pipe: Connection) -> None:
    """Answer listings until this process is ended."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = {n: v[0] for n, v in parse_qs(urlsplit(self.path).query).items()}
            answer = page(
                keys,
                query.get("prefix", ""),
                query.get("delimiter", ""),
                query.get("continuation-token", ""),
                min(int(query.get("max-keys", _PAGE)), _PAGE),
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_HEAD(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_address[1])
    server.serve_forever()


def _drop(endpoint: str) -> int:
    source = f"s3://corpus/{_PREFIX.rpartition('/first')[0]}"
    (drop,) = find_drops("source", source).values()
    return int(listing_hash(drop), 16) > 0


def _files(endpoint: str) -> int:
    options = {"endpoint": endpoint, "region": "us-east-1", "allow_http": "true"}
    options |= {"access_key_id": "testing", "secret_access_key": "testing"}
    files = Files("s3://corpus/drops", options)
    return sum(1 for _ in files.list("first"))


_MEASURES: dict[str, Callable[[str], int]] = {"drop": _drop, "files": _files}


def measure(name: str, endpoint: str) -> dict[str, float]:
    before = psutil.Process().memory_info().rss
    with measured() as usage:
        found = _MEASURES[name](endpoint)
    peak = (usage.peak_bytes - before) / 1e6
    return {"s": usage.processor_seconds, "MB": peak, "found": found}


def run(name: str, endpoint: str) -> dict[str, float]:
    environment = os.environ | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "benchmarks.listing", "--one", name, endpoint]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    print("| listing | keys | s | MB |\n|---|---|---|---|")
    costs: dict[str, list[float]] = {name: [] for name in _MEASURES}
    for keys in options.sizes:
        here, there = get_context("spawn").Pipe()
        server = get_context("spawn").Process(target=serve, args=(keys, there), daemon=True)
        server.start()
        endpoint = f"http://127.0.0.1:{here.recv()}"
        for name in _MEASURES:
            result = run(name, endpoint)
            if name == "files" and result["found"] != keys:
                raise SystemExit(f"{result['found']:,} of {keys:,} keys were listed")
            costs[name].append(result["s"])
            print(f"| {name} | {keys:,} | {result['s']:,.1f} | {result['MB']:,.0f} |", flush=True)
        server.terminate()
        server.join()
    if len(options.sizes) > 1:
        growth = math.log(options.sizes[-1] / options.sizes[-2])
        for name, seconds in costs.items():
            print(f"{name}: exponent {math.log(seconds[-1] / seconds[-2]) / growth:.2f}")


if __name__ == "__main__":
    main()
