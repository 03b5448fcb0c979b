"""Requests that schemathesis makes from a server's description: valid, invalid, hostile."""

from contextlib import suppress
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def call_all(url: str, examples: int, first: int = 0) -> dict[int, int]:
    """Call every operation with `examples` requests, half of them invalid on purpose.

    Args:
        url: of the server.
        examples: requests for each operation that takes parameters; the others get one.
        first: a seed; another one makes other requests.

    Returns:
        How many answers had each status.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    statuses: dict[int, int] = {}
    with requests.Session() as session:

        def check(case: Any) -> None:
            response = case.call(session=session)
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
            assert response.status_code < 500 or case.path == "/ready", response.content
            if response.status_code != 200:
                assert set(response.json()["error"]) == {"type", "message"}

        for operation in (result.ok() for result in schema.get_all_operations()):
            for mode in MODES:
                run = given(case=operation.as_strategy(generation_mode=mode))(check)
                run = settings(
                    max_examples=max(1, examples // len(MODES)),
                    deadline=None,
                    database=None,
                    phases=[Phase.explicit, Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )(seed(first)(run))
                with suppress(Unsatisfiable):  # without parameters, no request is invalid
                    run()
    return statuses
