"""The `server:` section of corpus.yaml: the limits of `isotrope serve`."""

from typing import Annotated

from pydantic import Field

from store.config.section import Names, PositiveInt, Section

_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Server(Section):
    """The server of a corpus.

    Attributes:
        keys: the file of hashed API keys. Relative paths start at the corpus's folder.
        hosts: the names that clients may use for the server (`Host` header), beside those of the
            local machine. A name may start with `*.`. Default: any name, where keys are required.
        threads: how many requests are answered at once. Null: one for each CPU.
        queue: how many more requests may wait. Others get the status 429.
        timeout: the most seconds that a request may take, with its time in the queue.
        json_bytes: the largest body of a JSON request.
        upload_bytes: the largest body of a request with files.
        image_pixels: width times height of an image to search with.
        rows: the most rows of one answer, over all queries of a batch.
        requests_per_second: of one API key, on average.
        burst: how many requests one API key may send at once.
        reload_seconds: how often the server looks for a new release and for changed keys.
        shutdown_seconds: how long running requests may go on after SIGTERM.
    """

    keys: str = "server-keys.json"
    hosts: Names = ()
    threads: PositiveInt | None = None
    queue: Annotated[int, Field(ge=0)] = 64
    timeout: _Seconds = 30.0
    json_bytes: PositiveInt = 8 << 20
    upload_bytes: PositiveInt = 32 << 20
    image_pixels: PositiveInt = 50_000_000
    rows: PositiveInt = 10_000
    requests_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 50.0
    burst: PositiveInt = 100
    reload_seconds: _Seconds = 5.0
    shutdown_seconds: _Seconds = 30.0
