"""When what keeps ending may be started again."""

from __future__ import annotations

from amphora_agent.core.backoff import Backoff

NEW = Backoff(first=1.0, longest=5.0, settled_after=60.0)


def starts_of_one_that_ends_at_once(count: int) -> list[float]:
    backoff, now = NEW, 100.0
    starts: list[float] = []
    while len(starts) < count:
        if backoff.is_over(now):
            starts.append(now)
            backoff = backoff.after_start(now)
        now += 0.5
    return starts


def test_the_first_start_is_at_once_and_the_pauses_double_up_to_the_longest() -> None:
    assert starts_of_one_that_ends_at_once(6) == [100.0, 101.0, 103.0, 107.0, 112.0, 117.0]


def test_what_ran_long_enough_is_started_at_once_and_has_the_first_pause_again() -> None:
    crashed = NEW.after_start(0.0).after_start(1.0).after_start(3.0)
    assert crashed.pause == 4.0
    assert crashed.is_over(63.1)
    assert crashed.after_start(63.1).pause == NEW.first
