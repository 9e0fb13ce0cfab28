"""The gunicorn worker of the API: receives whole requests in its event loop and gives each to a thread.

Decision: gunicorn's threaded worker spends a thread on every connection that is being opened, shaken hands with or
read from, so a few slow clients could stop all others. Here the event loop does the TLS handshake and collects the
request's bytes without blocking, under deadlines; a thread gets the request when its last byte is there. It costs one
buffer per request of at most the body limit, a bound on all buffers together, and a narrow range of gunicorn
versions, since the worker's inner methods are not a public interface.

Beside mutual TLS the loop serves a UNIX socket, whose clients the kernel names. Everything else is the same there.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import selectors
import signal
import socket
import ssl
import struct
import time
from concurrent.futures import Future
from enum import Enum, auto

from gunicorn import http
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.workers.gthread import TConn, ThreadWorker

from amphora_agent.api.http.framing import MAX_HEAD, Framing, Refused, TooLarge
from amphora_agent.api.http.lanes import Lane, Lanes, lane_of
from amphora_agent.api.http.peers import local_address, with_peer
from amphora_agent.api.http.refusals import Refusal, is_for_problems, response
from amphora_agent.api.http.waiting import StillWaiting, WaitingRoom
from amphora_agent.core.wake_ups import aligned
from amphora_agent.host import local_socket
from amphora_agent.host.memory import give_back
from amphora_agent.host.notify import feeding_interval, notify

LOG = logging.getLogger(__name__)

HANDSHAKE_DEADLINE = 10.0
HEAD_DEADLINE = 10.0
BODY_DEADLINE = 60.0
IDLE_DEADLINE = 75.0
DISCARD_DEADLINE = 10.0
# How long what was sent may stay unacknowledged, a closed window included: gunicorn takes timeouts off the socket.
WRITE_TIMEOUT_MS = 30_000
# The same for a UNIX socket, where nothing is acknowledged: one write may wait for so many seconds. Half of it, for a
# write that ends in part when they are over is followed by one for the rest.
_LOCAL_WRITE_TIMEOUT = struct.pack("@ll", WRITE_TIMEOUT_MS // 2000, 0)
# Clients that cannot be shaken hands with tell the operator about a wrong clock or certificate, not more often than so.
REFUSAL_LOG_INTERVAL = 60.0
MAX_DISCARD = 256 * 1024 * 1024
MAX_BUFFERED = 64 * 1024 * 1024
READ_SIZE = 64 * 1024
SWEEP_INTERVAL = 1.0
# How often the loop turns when there is nothing to do and nobody to tell.
SILENT_INTERVAL = 60.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Of a request, to tell its lane by, and in which form its refusal is expected.
LANE_BYTES = 64


class Stage(Enum):
    """What a connection in the event loop is waited for."""

    HANDSHAKE = auto()
    IDLE = auto()
    HEAD = auto()
    WAITING = auto()
    DISCARD = auto()


_DEADLINES = {
    Stage.HANDSHAKE: HANDSHAKE_DEADLINE,
    Stage.IDLE: IDLE_DEADLINE,
    Stage.HEAD: HEAD_DEADLINE,
    Stage.WAITING: float("inf"),
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
    """A threaded worker whose threads never wait for a client's bytes, nor for news."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._receptions: dict[int, Reception] = {}
        self._waiting: dict[int, Reception] = {}
        self._wants_problems: set[socket.socket] = set()
        self._next_sweep = 0.0
        self._next_refusal_log = 0.0
        self._served_bytes = 0
        self._give_back_at = 0.0
        self._has_news = False
        self._feeding_interval = feeding_interval() or SILENT_INTERVAL
        self._next_feed = 0.0

    def load_wsgi(self) -> None:
        """Load the application, and put the layers of the transport around it."""
        super().load_wsgi()
        self._room = WaitingRoom(with_peer(self.wsgi))
        self.wsgi: WaitingRoom = self._room

    def tell(self) -> None:
        """Have the requests that wait for news served again; called by any thread."""
        self._room.tell()
        if self._waiting and not self._has_news:
            self._has_news = True
            self.method_queue.defer(self._serve_waiting)

    def init_signals(self) -> None:
        """Handle the signals as gunicorn's worker does, and ignore what would end it without need."""
        super().init_signals()
        for number in (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, lambda _number, _frame: None)

    def notify(self) -> None:
        """Tell the service manager that requests are served; it starts another agent when it is not told for a while.

        An event loop that turns is not enough: a request that never ends keeps changes, or threads, from others.
        """
        now = time.monotonic()
        if now >= self._next_feed and not self.tpool.is_stuck(now):
            self._next_feed = now + aligned(self._feeding_interval, now)
            notify("WATCHDOG=1")

    def get_thread_pool(self) -> Lanes:
        """Return the threads that serve requests, by kind."""
        return Lanes()

    def accept(self, listener: socket.socket) -> None:
        """Take a connection: begin its TLS handshake, or see who is at the other end of the UNIX socket."""
        try:
            client, address = listener.accept()
        except OSError:
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections - self.cfg.threads:
            self._drop_all(sorted(self._receptions.values(), key=lambda r: r.deadline)[:1])
        connection = TConn(self.cfg, client, address, listener.getsockname())
        try:
            self._greet_local(connection) if client.family == socket.AF_UNIX else self._greet(connection)
        except OSError:
            self._close(connection)

    def _greet(self, connection: TConn) -> None:
        """Begin the TLS handshake."""
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, WRITE_TIMEOUT_MS)
        context = self.cfg.ssl_context(self.cfg, lambda: None)
        connection.sock = context.wrap_socket(connection.sock, server_side=True, do_handshake_on_connect=False)
        self._receive(Reception(connection, Stage.HANDSHAKE))

    def _greet_local(self, connection: TConn) -> None:
        """See who is at the other end of the UNIX socket, and refuse whoever may not ask."""
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _LOCAL_WRITE_TIMEOUT)
        peer = local_socket.peer_of(connection.sock)
        connection.client = local_address(peer.uid)
        reception = Reception(connection, Stage.HEAD)
        if not peer.may_ask(self.app.local_group):
            LOG.warning("refused a client of the UNIX socket uid=%d", peer.uid)
            self._refuse(reception, Refusal.FORBIDDEN, "root may ask here, and the group in api_socket_group")
        self._receive(reception)

    def handle_request(self, req: Request, conn: TConn) -> bool:
        """Serve one request in a thread; True when the connection goes on, answered or still waiting."""
        try:
            return bool(super().handle_request(req, conn))
        except StillWaiting:
            return True
        except BlockingIOError as error:
            raise ConnectionResetError(errno.ECONNRESET, "the client takes no answer") from error

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

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events, no longer than until the first of the waiting requests is due.

        Without a connection the next thing that is due is to feed the watchdog; gunicorn would look around each second.
        """
        now = time.monotonic()
        is_idle = not (self._receptions or self._waiting or self._served_bytes)
        if self.alive and is_idle and self._next_feed > now:
            timeout = self._next_feed - now
        visits = [self._room.visit(reception.connection.sock) for reception in self._waiting.values()]
        ends = [visit.until - now for visit in visits if visit is not None and not self.tpool.is_full(Lane.READS)]
        super().wait_for_and_dispatch_events(max(0.0, min([timeout, *ends])))

    def murder_pending(self) -> None:
        """Close what has missed its deadline; gunicorn calls this in every turn of its loop."""
        now = time.monotonic()
        if not self.alive:
            self._room.close()
            self._drop_all([r for r in self._receptions.values() if r.stage not in (Stage.HEAD, Stage.WAITING)])
        self._serve_waiting()
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
        is_problem = client.family == socket.AF_UNIX or client in self._wants_problems
        if isinstance(exc, ParseException):
            answer = response(Refusal.MALFORMED, str(exc), is_problem=is_problem)
        else:
            LOG.error("cannot answer a request", exc_info=exc)
            answer = response(Refusal.MACHINE, "see the agent's log", is_problem=is_problem)
        with contextlib.suppress(OSError):
            client.sendall(answer)

    def _receive(self, reception: Reception) -> None:
        """Have the event loop own a connection."""
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
        except (ssl.SSLWantReadError, BlockingIOError):
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
            if reception.stage is Stage.WAITING:
                # The next request, which is looked at when this one is answered.
                if len(reception.buffer) > MAX_HEAD:
                    self._drop(reception)
                    return
                continue
            if self._advance(reception):
                return

    def _advance(self, reception: Reception) -> bool:
        """Give a complete request to a thread, refuse a bad one; True when the loop is done with the connection."""
        had_head = reception.framing.has_head
        try:
            complete = reception.framing.is_complete(reception.buffer)
        except Refused as refused:
            reason = Refusal.TOO_LARGE if isinstance(refused, TooLarge) else Refusal.MALFORMED
            self._refuse(reception, reason, str(refused))
            return False
        if complete:
            return self._dispatch(reception)
        if reception.framing.has_head and not had_head:
            reception.deadline = time.monotonic() + BODY_DEADLINE
            if reception.framing.awaits_consent:
                reception.connection.sock.send(CONTINUE)
        if self._buffered() > MAX_BUFFERED:
            self._refuse(reception, Refusal.BUSY, "too many large requests at once")
        return False

    def _buffered(self) -> int:
        return sum(len(reception.buffer) for reception in self._receptions.values())

    def _dispatch(self, reception: Reception) -> bool:
        """Give a whole request to its lane; False when it is refused because too many wait there."""
        connection, lane = reception.connection, lane_of(bytes(reception.buffer[:LANE_BYTES]))
        if self.tpool.is_full(lane):
            self._refuse(reception, Refusal.BUSY, f"too many requests of the kind {lane.label!r} wait")
            return False
        self._forget(reception)
        request = reception.framing.delimited(reception.buffer)
        if lane is Lane.READS:
            self._room.admit(connection.sock, request)
        self._serve(lane, connection, request)
        return True

    def _serve(self, lane: Lane, connection: TConn, request: bytes) -> None:
        """Give a request, and what came behind it, to a thread of its lane."""
        if connection.parser is None:
            connection.initialized = True
            connection.parser = http.get_parser(self.cfg, connection.sock, connection.client)
        connection.data_ready = True
        connection.parser.unreader.unread(request)
        if is_for_problems(request[:LANE_BYTES]):
            self._wants_problems.add(connection.sock)
        else:
            self._wants_problems.discard(connection.sock)
        served = self.tpool.submit(lane, functools.partial(self.handle, connection))
        finish = functools.partial(self._finish, lane, connection, len(request))
        served.add_done_callback(lambda future: self.method_queue.defer(finish, future))

    def _finish(self, lane: Lane, connection: TConn, size: int, served: Future[object]) -> None:
        self.tpool.finish(lane)
        if self._room.visit(connection.sock) is not None:
            self._park(connection)
        else:
            self._room.dismiss(connection.sock)
            self.finish_request(connection, served)
        self._served_bytes = max(self._served_bytes, size)
        self._give_back_at = time.monotonic() + SWEEP_INTERVAL  # when its thread has let go of the request

    def _park(self, connection: TConn) -> None:
        """Keep a connection whose request waits, until there are news or its time is over."""
        connection.parser = None  # the request will be parsed again, from the bytes that are kept
        connection.sock.setblocking(False)
        handle, reception = connection.sock.fileno(), Reception(connection, Stage.WAITING)
        self._receive(reception)
        if handle in self._receptions:  # or it has hung up
            self._waiting[handle] = reception
        # What happened while its first answer was made has told nobody.
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        """Serve again what waits and has a reason to be answered; what finds its lane full is looked at again soon."""
        self._has_news = False
        now = time.monotonic()
        for reception in list(self._waiting.values()):
            connection = reception.connection
            visit = self._room.visit(connection.sock)
            if visit is not None and self._room.is_due(visit, now) and not self.tpool.is_full(Lane.READS):
                self._forget(reception)
                visit.request += bytes(reception.buffer)
                self._serve(Lane.READS, connection, visit.request)

    def _refuse(self, reception: Reception, refusal: Refusal, detail: str) -> None:
        """Answer at once, then read on for a while, or the client would see a reset instead of the answer."""
        is_local = reception.connection.sock.family == socket.AF_UNIX
        answer = response(refusal, detail, is_problem=is_local or is_for_problems(bytes(reception.buffer[:LANE_BYTES])))
        reception.buffer.clear()
        reception.enter(Stage.DISCARD)
        with contextlib.suppress(OSError):
            reception.connection.sock.send(answer)

    def _wait_for(self, handle: int, event: int) -> None:
        self.poller.modify(handle, event, self._on_ready)

    def _forget(self, reception: Reception) -> None:
        handle = reception.connection.sock.fileno()
        self._receptions.pop(handle, None)
        self._waiting.pop(handle, None)
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
        self._room.dismiss(connection.sock)
        self._wants_problems.discard(connection.sock)
        with contextlib.suppress(OSError):
            connection.sock.close()


def _is_hangup(error: ssl.SSLError) -> bool:
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
