"""The server's description: requests made from it, its examples, its texts."""

import httpx
import pytest

from store.search.query import Query
from tests.helpers.fuzz import call_all
from tests.helpers.served import Served


@pytest.mark.slow
def test_no_request_makes_the_server_fail(server: Served) -> None:
    statuses = call_all(server.url, 16)
    assert sum(statuses.values()) > 200
    assert {200, 404, 422} <= set(statuses)


@pytest.mark.slow
def test_many_requests_make_no_server_error(server: Served) -> None:
    """`benchmarks/fuzz_server.py` makes 10,000 requests."""
    statuses = call_all(server.url, 100, first=1)
    assert sum(statuses.values()) >= 1_500
    assert {200, 404, 422} <= set(statuses)


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
