"""The gunicorn worker of the API: receives whole requests in its event loop and gives each to a thread.

Decision: gunicorn's threaded worker spends a thread on every connection that is being opened, shaken hands with or
read from, so a few slow clients could stop all others. Here the event loop does the TLS handshake and collects the
request's bytes without blocking, under deadlines; a thread gets the request when its last byte is there. It costs one
buffer per request of at most the body limit, a bound on all buffers together, and a narrow range of gunicorn
versions, since the worker's inner methods are not a public interface.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import selectors
import socket
import ssl
import time
from concurrent.futures import Future
from enum import Enum, auto

from gunicorn import http
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.workers.gthread import TConn, ThreadWorker

from amphora_agent.api.http.framing import Framing, Refused
from amphora_agent.api.http.lanes import Lane, Lanes, lane_of
from amphora_agent.host.memory import give_back

LOG = logging.getLogger(__name__)

HANDSHAKE_DEADLINE = 10.0
HEAD_DEADLINE = 10.0
BODY_DEADLINE = 60.0
IDLE_DEADLINE = 75.0
DISCARD_DEADLINE = 10.0
# How long what was sent may stay unacknowledged, a closed window included: gunicorn takes timeouts off the socket.
WRITE_TIMEOUT_MS = 30_000
# Clients that cannot be shaken hands with tell the operator about a wrong clock or certificate, not more often than so.
REFUSAL_LOG_INTERVAL = 60.0
MAX_DISCARD = 256 * 1024 * 1024
MAX_BUFFERED = 64 * 1024 * 1024
READ_SIZE = 64 * 1024
SWEEP_INTERVAL = 1.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Of a request, to tell its lane by.
LANE_BYTES = 64


class Stage(Enum):
    """What a connection in the event loop is waited for."""

    HANDSHAKE = auto()
    IDLE = auto()
    HEAD = auto()
    DISCARD = auto()


_DEADLINES = {
    Stage.HANDSHAKE: HANDSHAKE_DEADLINE,
    Stage.IDLE: IDLE_DEADLINE,
    Stage.HEAD: HEAD_DEADLINE,
    Stage.DISCARD: DISCARD_DEADLINE,
}


class Reception:
    """A connection while the event loop owns it."""

    __slots__ = ("buffer", "connection", "deadline", "discarded", "framing", "stage")

    def __init__(self, connection: TConn, stage: Stage) -> None:
        self.connection = connection
        self.buffer = bytearray()
        self.framing = Framing()
        self.discarded = 0
        self.enter(stage)

    def enter(self, stage: Stage) -> None:
        """Move to another stage, with that stage's time from now on."""
        self.stage = stage
        self.deadline = time.monotonic() + _DEADLINES[stage]


class RequestWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """A threaded worker whose threads never wait for a client's bytes."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._receptions: dict[int, Reception] = {}
        self._next_sweep = 0.0
        self._next_refusal_log = 0.0
        self._served_bytes = 0
        self._give_back_at = 0.0

    def notify(self) -> None:
        """Tell the parent that requests are served; it starts another worker when it does not hear that for a while.

        An event loop that turns is not enough: a request that never ends keeps changes, or threads, from others.
        """
        if not self.tpool.is_stuck(time.monotonic()):
            super().notify()

    def get_thread_pool(self) -> Lanes:
        """Return the threads that serve requests, by kind."""
        return Lanes()

    def accept(self, listener: socket.socket) -> None:
        """Take a connection and begin its TLS handshake."""
        try:
            client, address = listener.accept()
        except OSError:
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections - self.cfg.threads:
            self._drop_all(sorted(self._receptions.values(), key=lambda r: r.deadline)[:1])
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, WRITE_TIMEOUT_MS)
        connection = TConn(self.cfg, client, address, listener.getsockname())
        try:
            context = self.cfg.ssl_context(self.cfg, lambda: None)
            connection.sock = context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        except OSError:
            self._close(connection)
            return
        self._receive(Reception(connection, Stage.HANDSHAKE))

    def finish_request(self, conn: TConn, fs: Future[object]) -> None:
        """Wait for the next request of a kept connection; runs in the event loop after each answer."""
        surprise = None if fs.cancelled() else fs.exception()
        if surprise is not None:
            LOG.error("cannot finish a request", exc_info=surprise)
        if fs.cancelled() or surprise is not None or not fs.result() or not self.alive:
            self._close(conn)
            return
        conn.sock.setblocking(False)
        reception = Reception(conn, Stage.IDLE)
        reception.buffer += conn.parser.unreader.take_buffered()
        # Before the socket is looked at: reading may give the connection away, and a request is served once.
        if reception.buffer and self._advance(reception):
            return
        self._receive(reception)

    def murder_pending(self) -> None:
        """Close what has missed its deadline; gunicorn calls this in every turn of its loop."""
        now = time.monotonic()
        if not self.alive:
            self._drop_all([r for r in self._receptions.values() if r.stage is not Stage.HEAD])
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_INTERVAL
            self._drop_all([r for r in self._receptions.values() if r.deadline < now])
            self._give_memory_back(now)

    def _give_memory_back(self, now: float) -> None:
        if now >= self._give_back_at:
            give_back(self._served_bytes)
            self._served_bytes = 0

    def handle_error(self, req: Request | None, client: socket.socket, addr: object, exc: BaseException) -> None:
        """Answer what gunicorn's parser refused: JSON, and 400 whatever status gunicorn has in mind."""
        del req, addr
        if isinstance(exc, ParseException):
            answer = refusal(400, "Bad Request", str(exc))
        else:
            LOG.error("cannot answer a request", exc_info=exc)
            answer = refusal(500, "Internal Server Error", "see the agent's log")
        with contextlib.suppress(OSError):
            client.sendall(answer)

    def _receive(self, reception: Reception) -> None:
        handle = reception.connection.sock.fileno()
        try:
            self.poller.register(handle, selectors.EVENT_READ, self._on_ready)
        except (OSError, ValueError, KeyError) as error:  # no memory for it, or a socket that is gone
            LOG.warning("cannot wait for a client peer=%s: %s", reception.connection.client, error)
            self._close(reception.connection)
            return
        self._receptions[handle] = reception
        self._on_ready(handle)

    def _on_ready(self, handle: int) -> None:
        reception = self._receptions.get(handle)
        if reception is None:
            return
        try:
            if reception.stage is Stage.HANDSHAKE:
                reception.connection.sock.do_handshake()
                self._wait_for(handle, selectors.EVENT_READ)
                reception.enter(Stage.HEAD)
            self._read(reception)
        except ssl.SSLWantReadError:
            self._wait_for(handle, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._wait_for(handle, selectors.EVENT_WRITE)
        except (OSError, ValueError) as error:
            self._log_end(reception, error)
            self._drop(reception)

    def _log_end(self, reception: Reception, error: Exception) -> None:
        """Say why a connection ended; a client that was refused is a warning, now and then."""
        if reception.stage is Stage.HANDSHAKE and isinstance(error, ssl.SSLError) and not _is_hangup(error):
            now = time.monotonic()
            if now >= self._next_refusal_log:
                self._next_refusal_log = now + REFUSAL_LOG_INTERVAL
                LOG.warning("cannot shake hands with a client peer=%s: %s", reception.connection.client, error)
                return
        LOG.debug("connection ended peer=%s: %s", reception.connection.client, error)

    def _read(self, reception: Reception) -> None:
        """Read until the socket has no more; ends by an exception or by giving the connection away."""
        while True:
            data = reception.connection.sock.recv(READ_SIZE)
            if not data:
                self._drop(reception)
                return
            if reception.stage is Stage.DISCARD:
                reception.discarded += len(data)
                if reception.discarded > MAX_DISCARD:
                    self._drop(reception)
                    return
                continue
            if reception.stage is Stage.IDLE:
                reception.enter(Stage.HEAD)
            reception.buffer += data
            if self._advance(reception):
                return

    def _advance(self, reception: Reception) -> bool:
        """Give a complete request to a thread, refuse a bad one; True when the loop is done with the connection."""
        had_head = reception.framing.has_head
        try:
            complete = reception.framing.is_complete(reception.buffer)
        except Refused as refused:
            self._refuse(reception, refusal(400, "Bad Request", str(refused)))
            return False
        if complete:
            return self._dispatch(reception)
        if reception.framing.has_head and not had_head:
            reception.deadline = time.monotonic() + BODY_DEADLINE
            if reception.framing.awaits_consent:
                reception.connection.sock.send(CONTINUE)
        if self._buffered() > MAX_BUFFERED:
            self._refuse(reception, refusal(503, "Service Unavailable", "too many large requests at once"))
        return False

    def _buffered(self) -> int:
        return sum(len(reception.buffer) for reception in self._receptions.values())

    def _dispatch(self, reception: Reception) -> bool:
        """Give a whole request to its lane; False when it is refused because too many wait there."""
        connection, lane = reception.connection, lane_of(bytes(reception.buffer[:LANE_BYTES]))
        if self.tpool.is_full(lane):
            text = f"too many requests of the kind {lane.label!r} wait"
            self._refuse(reception, refusal(503, "Service Unavailable", text))
            return False
        self._forget(reception)
        if connection.parser is None:
            connection.initialized = True
            connection.parser = http.get_parser(self.cfg, connection.sock, connection.client)
        connection.data_ready = True
        connection.parser.unreader.unread(reception.framing.delimited(reception.buffer))
        served = self.tpool.submit(lane, functools.partial(self.handle, connection))
        finish = functools.partial(self._finish, lane, connection, len(reception.buffer))
        served.add_done_callback(lambda future: self.method_queue.defer(finish, future))
        return True

    def _finish(self, lane: Lane, connection: TConn, size: int, served: Future[object]) -> None:
        self.tpool.finish(lane)
        self.finish_request(connection, served)
        self._served_bytes = max(self._served_bytes, size)
        self._give_back_at = time.monotonic() + SWEEP_INTERVAL  # when its thread has let go of the request

    def _refuse(self, reception: Reception, answer: bytes) -> None:
        """Answer at once, then read on for a while, or the client would see a reset instead of the answer."""
        reception.buffer.clear()
        reception.enter(Stage.DISCARD)
        with contextlib.suppress(OSError):
            reception.connection.sock.send(answer)

    def _wait_for(self, handle: int, event: int) -> None:
        self.poller.modify(handle, event, self._on_ready)

    def _forget(self, reception: Reception) -> None:
        handle = reception.connection.sock.fileno()
        self._receptions.pop(handle, None)
        with contextlib.suppress(KeyError, ValueError):
            self.poller.unregister(handle)

    def _drop_all(self, receptions: list[Reception]) -> None:
        for reception in receptions:
            self._drop(reception)

    def _drop(self, reception: Reception) -> None:
        self._forget(reception)
        self._close(reception.connection)

    def _close(self, connection: TConn) -> None:
        self.nr_conns -= 1
        with contextlib.suppress(OSError):
            connection.sock.close()


def _is_hangup(error: ssl.SSLError) -> bool:
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def refusal(status: int, phrase: str, text: str) -> bytes:
    """Return a whole response in the contract's generic error shape that ends the connection."""
    body = json.dumps({"error": f"{status} {phrase}: {text}", "http_code": status}).encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
