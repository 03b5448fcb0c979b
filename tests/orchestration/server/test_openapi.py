"""Requests that schemathesis makes from the server's description: valid, invalid, hostile."""

from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from store.search.query import Query
from tests.helpers.served import Served

MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def call_all(url: str, examples: int) -> dict[int, int]:
    """Call every operation with `examples` requests, half of them invalid on purpose.

    Returns:
        How many answers had each status.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    statuses: dict[int, int] = {}

    def check(case: Any) -> None:
        response = case.call()
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
            )(seed(0)(run))
            with suppress(Unsatisfiable):  # without parameters, no request is invalid
                run()
    return statuses


def test_no_request_makes_the_server_fail(server: Served) -> None:
    statuses = call_all(server.url, 40)
    assert sum(statuses.values()) > 200
    assert {200, 404, 422} <= set(statuses)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_requests_make_no_server_error(server: Served) -> None:
    statuses = call_all(server.url, 1800)
    assert sum(statuses.values()) >= 10_000


def test_the_examples_of_the_description_work(server: Served) -> None:
    description = httpx.get(f"{server.url}/openapi.json").json()
    content = description["paths"]["/search"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    assert len(examples) >= 4
    for name, example in examples.items():
        answer = httpx.post(f"{server.url}/search", json=example["value"])
        if name == "vectors":  # of a space of two dimensions
            assert answer.status_code == 422
            assert Query.from_json(httpx.Request("POST", "http://x", json=example["value"]).content)
        else:
            assert answer.status_code == 200, answer.text


def test_every_operation_is_described(server: Served) -> None:
    description = httpx.get(f"{server.url}/openapi.json").json()
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (path, method)
            assert operation["description"], (path, method)
            if path not in ("/health", "/ready"):
                assert operation["security"] == [{"HTTPBearer": []}], path
