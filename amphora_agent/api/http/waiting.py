"""Requests that wait for news without a thread: long polls. Knows neither what the news are nor what is asked.

An answer is made as for any other request, and says in `environ["amphora.wait"]` for how many seconds something better
could be waited for. It is then thrown away, the connection goes back to the event loop, and the request is served anew
when there are news or the time is over: that answer is sent.

Decision: the request is served again from its bytes, instead of having a part of the application run in the event loop.
So what waits is an ordinary view, whatever it waits for, and the loop never does an application's work. It costs one
short service for each that waits and each piece of news; there are few of the first.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amphora_agent.api.http.framing import MAX_HEAD
from amphora_agent.api.http.peers import refusing
from amphora_agent.api.http.refusals import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WAIT = "amphora.wait"
PLACES = 16
LONGEST_WAIT = 60
# Bytes of one request, with what came behind it; a larger one is answered at once.
MAX_KEPT = 2 * MAX_HEAD


class StillWaiting(Exception):
    """There is no answer yet, and nothing was sent."""


@dataclass(slots=True, eq=False)
class Visit:
    """A request that may wait, from its last byte to its answer.

    Attributes:
        request: its bytes.
        until: monotonic seconds when it is answered in any case; 0 while it has no place.
        heard: how many news there were before it was served last.
        is_waiting: whether the last service of it ended without an answer.
    """

    request: bytes
    until: float = 0.0
    heard: int = 0
    is_waiting: bool = False


class WaitingRoom:
    """A layer around the WSGI application in which requests wait.

    `admit` and `dismiss` are called from the event loop alone, `tell` and the layer itself by any thread.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._visits: dict[socket.socket, Visit] = {}
        self._lock = threading.Lock()
        self._news = 0
        self._is_closed = False

    def admit(self, door: socket.socket, request: bytes) -> None:
        """Let the request that came on a connection wait, should it want to; a large one may not."""
        if len(request) <= MAX_KEPT:
            self._visits[door] = Visit(request)

    def dismiss(self, door: socket.socket) -> None:
        """Forget a request that is answered, or whose connection has ended."""
        self._visits.pop(door, None)

    def visit(self, door: socket.socket) -> Visit | None:
        """Return the request of a connection that waits, None when it does not."""
        visit = self._visits.get(door)
        return visit if visit is not None and visit.is_waiting else None

    def tell(self) -> None:
        """Note that something happened."""
        with self._lock:
            self._news += 1

    def close(self) -> None:
        """Answer everything from now on at its next service."""
        self._is_closed = True

    def is_due(self, visit: Visit, now: float) -> bool:
        """Tell whether there is a reason to serve a waiting request again."""
        return self._is_closed or visit.heard != self._news or visit.until <= now

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request, or raise `StillWaiting`."""
        visit = self._visits.get(environ["gunicorn.socket"])
        if visit is None:
            return self._application(environ, start_response)
        visit.heard, visit.is_waiting = self._news, False
        begun: list[Any] = []
        answer = self._application(environ, lambda *words: begun.append(words))  # type: ignore[arg-type]
        seconds = environ.get(WAIT, 0)
        if seconds and not self._take_place(visit, seconds):
            _close(answer)
            return refusing(Refusal.BUSY, f"{PLACES} requests wait already")(environ, start_response)
        if seconds and not self._is_closed and time.monotonic() < visit.until:
            _close(answer)
            visit.is_waiting = True
            raise StillWaiting
        visit.until = 0.0
        start_response(*begun[-1])
        return answer

    def _take_place(self, visit: Visit, seconds: float) -> bool:
        """Give a request one of the places unless it has one; False when there is none."""
        with self._lock:
            if not visit.until:
                if sum(other.until > 0 for other in tuple(self._visits.values())) >= PLACES:
                    return False
                visit.until = time.monotonic() + min(seconds, LONGEST_WAIT)
        return True


def _close(answer: Iterable[bytes]) -> None:
    close = getattr(answer, "close", None)
    if close is not None:
        close()
