"""Look after documents in the background: finish what a crash cut short, take back what nobody confirmed."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Iterator

from amphora_agent.core.document.stored import Stored
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.errors import AgentError
from amphora_agent.host import files
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.document import apply, news, store
from amphora_agent.operations.document.apply import Wanted

LOG = logging.getLogger(__name__)

WATCHER = "documents"
# Who wants an earlier look calls.
IDLE_PAUSE = 3600.0
RETRY_PAUSE = 10.0
BUSY_PAUSE = 0.5
BY = "agent"


def begin(amphora: Amphora) -> None:
    """Look after documents and for news of them from now on; a second time does nothing."""
    if WATCHER not in amphora.watchers.states():
        amphora.watchers.start(WATCHER, functools.partial(look, amphora))
        amphora.watchers.start(news.WATCHER, news.NewsWatcher(amphora).look)


@contextlib.contextmanager
def changing(amphora: Amphora) -> Iterator[Change]:
    """Begin a change of documents that somebody asked for; what it leaves to be done is done soon, however it ends."""
    try:
        with amphora.changing() as change:
            yield change
    finally:
        begin(amphora)
        amphora.watchers.call(WATCHER)


def look(amphora: Amphora) -> float:
    """Do what is due, and return the seconds until something may be due again."""
    pauses = [_look(amphora, lb_id) for lb_id in store.document_ids(amphora.paths)]
    return min(pauses, default=IDLE_PAUSE)


def _look(amphora: Amphora, lb_id: LoadBalancerId) -> float:
    stored = store.find(amphora, lb_id)
    left = _left(stored)
    if left > 0 and stored is not None and not store.is_unfinished(amphora, lb_id):
        return left
    with amphora.changing_politely() as change:
        return BUSY_PAUSE if change is None else _act(change, lb_id)


def _left(stored: Stored | None) -> float:
    """Return the seconds until an unconfirmed change is taken back."""
    if stored is None or stored.revert is None:
        return IDLE_PAUSE
    return min(stored.revert.at - time.time(), IDLE_PAUSE)


def _act(change: Change, lb_id: LoadBalancerId) -> float:
    """Do what is still due now that nobody else changes anything."""
    try:
        if store.is_unfinished(change, lb_id) or (store.find(change, lb_id) is None and _is_there(change, lb_id)):
            apply.recover(change, lb_id)
        stored = store.find(change, lb_id)
        if stored is not None and stored.revert is not None and _left(stored) <= 0:
            _take_back(change, lb_id, stored.revert.generation)
    except (AgentError, OSError) as error:
        LOG.error("cannot look after a document lb=%s: %s: %s", lb_id, error, getattr(error, "detail", ""))
        return RETRY_PAUSE
    return max(0.0, _left(store.find(change, lb_id)))


def _is_there(change: Change, lb_id: LoadBalancerId) -> bool:
    return files.exists(change.paths.document(lb_id).directory)


def _take_back(change: Change, lb_id: LoadBalancerId, generation: int) -> None:
    """Bring back the last confirmed document, or remove a load balancer that had none."""
    LOG.warning("nobody confirmed a change: taking it back lb=%s generation=%d", lb_id, generation)
    if generation == 0:
        apply.delete(change, lb_id)
    else:
        document = store.revision(change, lb_id, generation).document
        apply.apply(change, lb_id, Wanted(document=document, by=BY, is_settled=True))
