"""Long pauses end together; short ones are as long as asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.wake_ups import COMMON, aligned

TIMES = st.floats(min_value=0, max_value=1e7)


@given(seconds=st.floats(min_value=0, max_value=COMMON, exclude_max=True), now=TIMES)
def test_a_short_pause_is_left_alone(seconds: float, now: float) -> None:
    assert aligned(seconds, now) == seconds


@given(seconds=st.floats(min_value=COMMON, max_value=1e5), now=TIMES)
def test_a_long_pause_is_not_longer_and_ends_at_a_common_moment(seconds: float, now: float) -> None:
    pause = aligned(seconds, now)
    assert 0 < pause <= seconds + 1e-6
    left = (now + pause) % COMMON
    assert min(left, COMMON - left) < 1e-6
