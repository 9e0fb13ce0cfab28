"""Store a secret, and have every load balancer that uses it serve the new one: all of them, or none."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence

from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.errors import AgentError, HostFailure
from amphora_agent.operations.amphora import Change
from amphora_agent.operations.document import apply, secrets, store
from amphora_agent.operations.document.apply import Applied
from amphora_agent.operations.events import EventKind

LOG = logging.getLogger(__name__)


def put(change: Change, name: str, body: bytes, by: str) -> tuple[Applied, ...]:
    """Store a secret and apply what uses it again.

    Raises:
        InvalidSecret: nothing was touched.
        NotApplied, RefusedByProgram, InvalidDocument: the secret of before is back, and serves.
    """
    secrets.check(change, body)
    before = secrets.read(change, name)
    users = [lb_id for lb_id, stored in store.all_stored(change).items() if secrets.uses(stored.document, name)]
    try:
        for lb_id in users:  # a crash from here on is followed by a look at what is there
            store.begin(change, lb_id)
        secrets.write(change, name, body)
        applied = tuple(apply.apply_again(change, lb_id, by) for lb_id in users)
    except (AgentError, OSError):
        with contextlib.suppress(HostFailure):  # what is there then is brought about whole
            secrets.write(change, name, before)
        _bring_back(change, users)
        raise
    change.events.append(EventKind.SECRET, None, f"secret {name}", f"stored by {by}", at=time.time())
    LOG.info("stored a secret name=%s bytes=%d", name, len(body))
    return applied


def _bring_back(change: Change, users: Sequence[LoadBalancerId]) -> None:
    for lb_id in users:
        try:
            apply.recover(change, lb_id)
        except (AgentError, OSError) as error:
            LOG.error("cannot take a secret back lb=%s: %s", lb_id, error)
