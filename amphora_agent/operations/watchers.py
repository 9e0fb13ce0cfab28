"""The agent's background work, in one place: a named thread for each thing to look after. Decides nothing itself.

A watcher is a function that looks once, acts, and says when to look again. What it raises is logged when it changes,
and the next look comes all the same, so that no watcher ever ends by accident.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from amphora_agent.core.wake_ups import aligned
from amphora_agent.errors import AgentError
from amphora_agent.host.wake_up import WakeUp

LOG = logging.getLogger(__name__)

PAUSE_AFTER_ERROR = 5.0


@dataclass(frozen=True, slots=True)
class Until:
    """A pause that ends early when one of the processes ends."""

    seconds: float
    pids: tuple[int, ...]


# Returns the seconds until the next look, or None when there is nothing to look after any more. Long pauses may be
# shorter, so that the watchers wake up together.
Look = Callable[[], float | Until | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatcherState:
    """How a watcher fares.

    Attributes:
        last_look: when it looked last, in seconds since the epoch; None before the first look has ended.
        looks: how often it looked.
        failures: how many of those looks failed.
        last_error: what the last look failed of; empty when it did not.
    """

    last_look: float | None = None
    looks: int = 0
    failures: int = 0
    last_error: str = ""


class Watchers:
    """The watchers of one agent."""

    def __init__(self) -> None:
        self._states: dict[str, WatcherState] = {}
        self._calls: dict[str, WakeUp] = {}

    def start(self, name: str, look: Look) -> None:
        """Look after something from now on."""
        self._states[name] = WatcherState()
        self._calls[name] = WakeUp()
        threading.Thread(target=self._watch, args=(name, look), name=name, daemon=True).start()

    def call(self, name: str) -> None:
        """Have a watcher look at once; one that was not started does not care."""
        call = self._calls.get(name)
        if call is not None:
            call.call()

    def states(self) -> dict[str, WatcherState]:
        """Return how each watcher fares."""
        return dict(self._states)

    def _watch(self, name: str, look: Look) -> None:
        call = self._calls[name]
        while (pause := self._look(name, look)) is not None:
            seconds, pids = (pause.seconds, pause.pids) if isinstance(pause, Until) else (pause, ())
            call.wait(aligned(seconds, time.monotonic()), pids)

    def _look(self, name: str, look: Look) -> float | Until | None:
        before, error = self._states[name], ""
        pause: float | Until | None = PAUSE_AFTER_ERROR
        try:
            pause = look()
        except (AgentError, OSError) as failure:
            error = f"{failure}: {getattr(failure, 'detail', '')}".rstrip(": ")
        except Exception as failure:
            error = f"unexpected {type(failure).__name__}: {failure}"
            LOG.error("a watcher met a surprise watcher=%s", name, exc_info=failure)
        if error and error != before.last_error:
            LOG.error("a watcher fails and goes on watcher=%s: %s", name, error)
        elif before.last_error and not error:
            LOG.info("a watcher works again watcher=%s", name)
        self._states[name] = WatcherState(
            last_look=time.time(),
            looks=before.looks + 1,
            failures=before.failures + bool(error),
            last_error=error,
        )
        return pause
