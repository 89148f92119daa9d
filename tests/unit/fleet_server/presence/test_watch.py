"""Blind time against one look at each millisecond."""

from hypothesis import given
from hypothesis import strategies as st

from fleet_server.presence.watch import BLIND_AFTER_MS, Watch, blind_since_ms

gaps = st.lists(st.one_of(st.integers(1, 3_000), st.integers(BLIND_AFTER_MS - 2, BLIND_AFTER_MS + 2), st.integers(1, 100_000)), max_size=8)


@given(gaps, st.integers(0, 30_000))
def test_it_is_all_gaps_that_are_too_long_and_never_falls(beats: list[int], rest: int) -> None:
    watch, at, seen = Watch(), 1_000, [0]
    watch.beat(at)
    for gap in beats:
        seen += [watch.blind_ms(at + gap // 2), watch.blind_ms(at + gap)]
        at += gap
        watch.beat(at)
        seen.append(watch.blind_ms(at))
    seen.append(watch.blind_ms(at + rest))
    assert seen[-1] == sum(gap for gap in [*beats, rest] if gap > BLIND_AFTER_MS)
    assert seen == sorted(seen)


def test_before_anybody_watched_nobody_was_blind() -> None:
    assert Watch().blind_ms(10**12) == 0
    assert blind_since_ms(None, 10**12) is None
