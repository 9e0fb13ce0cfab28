"""A moment by which something has to be done."""

from __future__ import annotations

import pytest

from amphora_agent.errors import HostFailure
from amphora_agent.host.deadline import Deadline


def test_what_is_left_never_grows_and_never_is_negative() -> None:
    deadline = Deadline.after(60.0)
    first = deadline.left()
    assert 0 < deadline.left() <= first <= 60.0
    assert Deadline.after(-1.0).left() == 0.0


def test_the_earlier_of_two_counts() -> None:
    deadline = Deadline.after(60.0)
    assert deadline.within(600.0) is deadline
    assert deadline.within(1.0).left() <= 1.0


def test_one_that_has_passed_says_what_took_too_long() -> None:
    assert Deadline.after(60.0).require("cannot wait") > 0
    with pytest.raises(HostFailure) as failure:
        Deadline(Deadline.after(0.0).at, 2.5).require("cannot wait")
    assert (str(failure.value), failure.value.detail) == ("cannot wait", "it takes longer than 2.5 s")


def test_there_is_one_attempt_even_without_time() -> None:
    assert len(list(Deadline.after(0.0).attempts(0.01))) == 1


@pytest.mark.parametrize("longest", [None, 0.02])
def test_attempts_go_on_until_the_deadline_has_passed(longest: float | None) -> None:
    deadline = Deadline.after(0.1)
    attempts = len(list(deadline.attempts(0.01, longest)))
    assert 1 <= attempts <= 12
    assert deadline.left() == 0.0
