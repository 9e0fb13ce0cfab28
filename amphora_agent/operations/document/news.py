"""Tell what happens to load balancers by itself: members that come and go, roles, certificates that end.

Decision: the statuses of two looks are compared, as `GET status` derives them, so an event and a status never differ.
What comes and goes between two looks is not told. Looks are frequent only while somebody waits for them: an amphora
whose events nobody reads should not spend its processor on them.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator

from amphora_agent.core.document.news import Sight, certificate_news, member_news, role_news, sight
from amphora_agent.core.document.stored import Stored
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.metrics.certificate import not_after
from amphora_agent.errors import NotFound
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import secrets, status, store
from amphora_agent.operations.events import EventKind

WATCHER = "news"
# Seconds between two looks: somebody waits for news, or nobody does.
AWAITED_PAUSE = 2.0
PAUSE = 10.0
_CERTIFICATES_PAUSE = 3600.0


def expect(amphora: Amphora, seconds: float) -> None:
    """Look more often for some seconds, because somebody waits."""
    now = time.monotonic()
    if not amphora.events.is_awaited(now):
        amphora.watchers.call(WATCHER)
    amphora.events.await_until(now + seconds)


class NewsWatcher:
    """Remembers what it saw at its last look, and on which day it told of a certificate."""

    def __init__(self, amphora: Amphora) -> None:
        self._amphora = amphora
        self._before: dict[LoadBalancerId, Sight] = {}
        self._told: dict[tuple[LoadBalancerId, str], dt.date] = {}
        self._certificates_due = 0.0

    def look(self) -> float:
        """Look once, note what is new, and return the seconds until the next look.

        Raises:
            HostFailure: the namespace cannot be looked at.
        """
        seen = {lb_id: found for lb_id in store.document_ids(self._amphora.paths) if (found := self._look_at(lb_id))}
        for lb_id, now in seen.items():
            self._tell(lb_id, self._before.get(lb_id, now), now)
        self._before = seen
        if time.monotonic() >= self._certificates_due:
            self._certificates_due = time.monotonic() + _CERTIFICATES_PAUSE
            self.look_at_certificates()
        return AWAITED_PAUSE if self._amphora.events.is_awaited(time.monotonic()) else PAUSE

    def _look_at(self, lb_id: LoadBalancerId) -> Sight | None:
        """Return what there is now; in the middle of a change what there was, None when there is nothing."""
        try:
            found = None if store.is_unfinished(self._amphora, lb_id) else status.report(self._amphora, lb_id)
        except NotFound:
            return None
        if found is None or store.is_unfinished(self._amphora, lb_id):
            return self._before.get(lb_id)
        return sight(found.status, found.role if found.stored.document.vrrp is not None else None)

    def _tell(self, lb_id: LoadBalancerId, before: Sight, now: Sight) -> None:
        for name, detail in member_news(before, now):
            self._note(EventKind.MEMBER, lb_id, f"member {name}", detail)
        if role := role_news(before, now):
            self._note(EventKind.ROLE, lb_id, "", role)

    def look_at_certificates(self) -> None:
        """Tell of each certificate that ends soon and is in use, once a day."""
        now, today = time.time(), dt.datetime.now(dt.UTC).date()
        self._told = {key: day for key, day in self._told.items() if day == today}
        stored = store.all_stored(self._amphora)
        for name in secrets.names(self._amphora):
            end = not_after(secrets.read(self._amphora, name) or b"")
            detail = "" if end is None else certificate_news(end, now)
            for lb_id in _users(stored, name) if detail else ():
                if (lb_id, name) not in self._told:
                    self._told[lb_id, name] = today
                    self._note(EventKind.CERTIFICATE, lb_id, f"secret {name}", detail)

    def _note(self, kind: EventKind, lb_id: LoadBalancerId, subject: str, detail: str) -> None:
        self._amphora.events.append(kind, lb_id, subject, detail, at=time.time())


def _users(stored: dict[LoadBalancerId, Stored], name: str) -> Iterator[LoadBalancerId]:
    return (lb_id for lb_id, each in stored.items() if secrets.uses(each.document, name))
