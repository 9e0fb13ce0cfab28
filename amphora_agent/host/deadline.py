"""A moment by which something has to be done, and waiting in steps until then. Knows nothing of what is awaited.

How long to wait between starts of what keeps ending is `core.backoff.Backoff`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.errors import HostFailure

GROWTH = 1.3


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at` in monotonic seconds; `seconds` is how long it was away when it was set. Made by `after`."""

    at: float
    seconds: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the moment so many seconds from now."""
        return cls(time.monotonic() + seconds, seconds)

    def within(self, seconds: float) -> Deadline:
        """Return the earlier of this and the moment so many seconds from now."""
        other = Deadline.after(seconds)
        return other if other.at < self.at else self

    def left(self) -> float:
        """Return the seconds left, 0 when it has passed."""
        return max(0.0, self.at - time.monotonic())

    def require(self, purpose: str) -> float:
        """Return the seconds left, more than 0.

        Args:
            purpose: message of the failure, such as "cannot change HAProxy".

        Raises:
            HostFailure: it has passed.
        """
        left = self.left()
        if left <= 0:
            raise HostFailure(purpose, f"it takes longer than {self.seconds:g} s")
        return left

    def attempts(self, interval: float, longest: float | None = None) -> Iterator[None]:
        """Yield at once, again after each pause, and a last time when the deadline passes during a pause.

        Args:
            interval: seconds between two attempts.
            longest: let each pause be longer than the one before, up to this; None: all are alike.
        """
        pause = interval
        while True:
            yield
            left = self.left()
            if left <= 0:
                return
            time.sleep(min(pause, left))
            if longest is not None:
                pause = min(pause * GROWTH, longest)
