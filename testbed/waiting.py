"""Wait for what comes in a moment, instead of sleeping for as long as it may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

INTERVAL = 0.02
Result = TypeVar("Result")


class NotInTime(AssertionError, TimeoutError):
    """What was waited for did not come: a test has failed, or a program's time is over."""


def wait_for(
    find: Callable[[], Result | None],
    what: str | Callable[[], str],
    *,
    seconds: float = 20.0,
    interval: float = INTERVAL,
) -> Result:
    """Poll until there is a true result, and return it.

    Args:
        find: a condition, or something that returns what is looked for.
        what: is waited for; or called to tell how things are when it did not come.
        seconds: to wait at most.
        interval: seconds between two looks.

    Raises:
        NotInTime: it did not come within that time.
    """
    deadline = time.monotonic() + seconds
    while not (found := find()):
        if time.monotonic() > deadline:
            raise NotInTime(f"waited {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(interval)  # noqa: TID251 - the one place
    return found


def holds(condition: Callable[[], bool], seconds: float) -> bool:
    """Tell whether a condition holds during the whole time: that nothing happens can only be waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(INTERVAL)  # noqa: TID251 - and the other
    return True
