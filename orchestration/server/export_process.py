"""The process of one export: it reads its order from standard input, a line of JSON, and writes the
result to standard output. It ends when the input does, because then the server is gone."""

import json
import os
import signal
import sys
import threading
from dataclasses import asdict

import isotrope
from store.errors import IsotropeError
from store.search.subset import checked
from store.search.wire import write_error


def main() -> None:
    """Write the samples of the order into its folder."""
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print goes to the log
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # engines stop their processes
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    try:
        exporter = checked(isotrope.open_corpus(order["corpus"]).exporter)
        ids, to, folder = order["ids"], order["to"], order["folder"]
        done = exporter(ids, to, folder, signals=False, mask=False, overwrite=False)
        answer = asdict(done)
    except IsotropeError as error:
        answer = write_error(error)
    os.write(output, json.dumps(answer).encode())


def _end_with_the_server() -> None:
    while os.read(sys.stdin.fileno(), 1024):  # a thread in `sys.stdin.read` would block the exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
