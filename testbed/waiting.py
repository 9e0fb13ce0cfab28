"""Wait for what comes in a moment, instead of sleeping for as long as it may take."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL = 0.02


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 20.0) -> None:
    """Poll until the condition holds.

    Raises:
        AssertionError: with `what`, when it did not within that time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s: {what}"
        time.sleep(INTERVAL)
