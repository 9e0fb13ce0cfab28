"""When something that keeps ending may be started again. Pure: time is an argument.

The first start is at once, a second one soon; each pause is twice the one before, and what ran long enough begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses are counted from start to start, so what ran longer than its pause is started again at once.

    Attributes:
        first: seconds between the first start and the second.
        longest: seconds that no pause exceeds.
        settled_after: what ran longer than so many seconds is taken for sound again.
        started: monotonic seconds of the last start, None before the first.
        pause: seconds from the last start to the next one.
    """

    first: float
    longest: float
    settled_after: float
    started: float | None = None
    pause: float = 0.0

    def is_over(self, now: float) -> bool:
        """Tell whether the next start may be made."""
        return self.started is None or now - self.started >= self.pause

    def after_start(self, now: float) -> Backoff:
        """Return the value after a start at `now`."""
        is_first = self.started is None or now - self.started > self.settled_after
        return replace(self, started=now, pause=self.first if is_first else min(self.pause * 2, self.longest))
