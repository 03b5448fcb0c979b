"""The cursor of the sensor `deliveries`: bounded ticks that reach every drop, and pauses."""

from hypothesis import given
from hypothesis import strategies as st

from orchestration.deliveries_cursor import LISTED_AGAIN, DeliveriesCursor


def tick(cursor: DeliveriesCursor, hashes: dict[str, str]) -> tuple[DeliveriesCursor, list[str]]:
    """One tick of the sensor; returns the next cursor, through its text, and what was listed."""
    chosen = cursor.choose(list(hashes))
    listings = {name: hashes[name] for name in chosen}
    settled = [name for name in chosen if cursor.listings.get(name) == listings[name]]
    return DeliveriesCursor.read(cursor.listed(list(hashes), listings, settled).text()), chosen


@given(st.integers(0, 400))
def test_every_settled_drop_is_listed_in_turn_and_no_tick_lists_many(count):
    hashes = {f"drop-{number:04d}": "a" for number in range(count)}
    cursor, chosen = tick(DeliveriesCursor(), hashes)
    assert set(chosen) == set(hashes)  # new drops are listed at once
    cursor, _ = tick(cursor, hashes)
    assert set(cursor.settled) == set(hashes)
    seen: set[str] = set()
    for _ in range(-(-count // LISTED_AGAIN)):
        cursor, chosen = tick(cursor, hashes)
        assert len(chosen) <= LISTED_AGAIN
        seen |= set(chosen)
    assert seen == set(hashes)


def test_a_drop_that_changed_is_listed_until_it_has_settled_again():
    hashes = {f"drop-{number:04d}": "a" for number in range(120)}
    cursor = DeliveriesCursor()
    for _ in range(2):
        cursor, _ = tick(cursor, hashes)
    hashes["drop-0005"] = "b"
    for _ in range(3):  # one turn
        cursor, _ = tick(cursor, hashes)
    hashes["drop-0005"] = "c"
    cursor, chosen = tick(cursor, hashes)
    while "drop-0005" not in chosen:
        cursor, chosen = tick(cursor, hashes)
    assert "drop-0005" not in cursor.settled
    cursor, chosen = tick(cursor, hashes)
    assert "drop-0005" in chosen
    assert "drop-0005" in cursor.settled


def test_drops_that_are_gone_are_forgotten():
    cursor, _ = tick(DeliveriesCursor(), {"a": "1", "b": "1"})
    cursor, _ = tick(cursor, {"b": "1"})
    assert cursor.listings == {"b": "1"}


def test_pauses_after_errors_double_up_to_an_hour():
    cursor, pauses = DeliveriesCursor(), []
    for _ in range(8):
        cursor = cursor.failed("no answer", now=1000)
        pauses.append(cursor.retry_at - 1000)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert tick(cursor, {"a": "1"})[0].errors == 0


def test_a_cursor_of_an_earlier_version_is_read():
    assert DeliveriesCursor.read('{"a": "1"}').listings == {"a": "1"}
    assert DeliveriesCursor.read(None) == DeliveriesCursor()
