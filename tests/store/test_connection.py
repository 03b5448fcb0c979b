"""How often and how long a client waits for a busy server."""

import httpx
from hypothesis import given
from hypothesis import strategies as st

from store.search.connection import MAX_WAIT, RETRIES, Waits


def refusal(retry_after: str | None, status: int = 429) -> httpx.Response:
    return httpx.Response(
        status, headers={} if retry_after is None else {"retry-after": retry_after}
    )


@given(st.lists(st.integers(0, 40), max_size=20), st.none() | st.floats(0, 100))
def test_waits_are_those_of_the_server_and_bounded(named: list[int], most: float | None) -> None:
    waits = Waits(most)
    taken = []
    for seconds in named:
        wait = waits.before_retry(refusal(str(seconds)))
        if wait is None:
            break
        assert wait == seconds
        taken.append(wait)
    assert sum(taken) <= min(MAX_WAIT, MAX_WAIT if most is None else most)
    assert len(taken) <= RETRIES


def test_only_a_busy_server_that_names_seconds_is_waited_for() -> None:
    for status in (200, 401, 404, 422, 500, 503, 504):
        assert Waits().before_retry(refusal("1", status)) is None
    for named in (None, "", "-1", "soon", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 40):
        assert Waits().before_retry(refusal(named)) is None
