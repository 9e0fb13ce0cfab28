"""Answers scrapes on a loopback port: a few at once, each with one deadline. Never keeps a whole scrape in memory.

Decision: 200 is said only once the first 32 KiB are there or all of it, so a failure before that is a clean 502. Of a
longer answer that then fails, the connection is ended without the last chunk: what was sent are whole lines, and the
scraper sees that the rest is missing instead of taking members for gone. Only a client of HTTP/1.0, which HAProxy is
not, cannot tell such an end from another.

Decision: `_socket` and `_thread`, the halves written in C: see `exporter.py`.
"""

from __future__ import annotations

import _thread
import sys
import time
from _socket import AF_INET, SHUT_RDWR, SO_REUSEADDR, SOL_SOCKET, socket
from collections.abc import Iterator

from amphora_agent.core.metrics.exposition import Garbled, Translator
from amphora_agent.core.metrics.request import OPENMETRICS_TYPE, TEXT_TYPE, BadRequest, Scrape, parse_request
from amphora_agent.metrics import exporter, machine
from amphora_agent.metrics import records as recorded

ADDRESS = ("127.0.0.1", 9102)
RECORDS = "/var/lib/octavia/metrics"
# What more scrapers than these get is a place in the queue.
CONCURRENT = 4
QUEUE = 16
REQUEST_SECONDS = 5.0
# Prometheus gives up after 10 s unless it is told otherwise.
SCRAPE_SECONDS = 10.0
HELD_BACK = 32 * 1024
_LONGEST_REQUEST = 16 * 1024
_STACK = 256 * 1024


class Server:
    """The proxy: each of its threads accepts, answers and closes one connection after the other.

    Args:
        address: where to listen.
        upstream: where HAProxy's exporter listens.
        records: directory of what other processes tell.
        show_rejected: print what is not passed on.
        scrape_seconds: how long one scrape may take, from its request to the last byte.
    """

    def __init__(
        self,
        *,
        address: tuple[str, int] = ADDRESS,
        upstream: tuple[str, int] = exporter.ADDRESS,
        records: str = RECORDS,
        show_rejected: bool = False,
        scrape_seconds: float = SCRAPE_SECONDS,
    ) -> None:
        self._upstream = upstream
        self._records = records
        self._show_rejected = show_rejected
        self._scrape_seconds = scrape_seconds
        self._trouble = ""
        self._closed = False
        self._listening = socket(AF_INET)
        self._listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        self._listening.bind(address)
        self._listening.listen(QUEUE)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listening.getsockname()[1])

    def start(self) -> None:
        """Begin to answer, in threads that end with the process or by `close()`."""
        self._start(CONCURRENT)

    def serve(self) -> None:
        """Answer in this thread, too, until the process ends."""
        self._start(CONCURRENT - 1)
        self._serve()

    def close(self) -> None:
        """Stop listening; scrapes under way are finished."""
        self._closed = True
        try:
            self._listening.shutdown(SHUT_RDWR)
        except OSError:
            pass
        self._listening.close()

    def _start(self, threads: int) -> None:
        _thread.stack_size(_STACK)
        for _ in range(threads):
            _thread.start_new_thread(self._serve, ())

    def _serve(self) -> None:
        while True:
            try:
                connection = socket(fileno=self._listening._accept()[0])  # type: ignore[attr-defined]  # noqa: SLF001
            except OSError as error:
                if self._closed:
                    return
                self._say(f"cannot accept a scrape: {error}")
                time.sleep(0.1)
                continue
            try:
                self._answer(connection)
            except OSError:
                pass
            connection.close()

    def _answer(self, connection: socket) -> None:
        try:
            scrape = parse_request(_read_request(connection))
        except BadRequest as error:
            connection.sendall(_response(error.status, b"content-length: 0\r\n"))
            return
        deadline = time.monotonic() + self._scrape_seconds
        answer = _Answer(connection, scrape, deadline)
        try:
            for piece in self._translated(scrape, deadline):
                answer.add(piece)
            answer.finish()
            self._say("")
        except (Garbled, exporter.ExporterFailure) as error:
            self._say(str(error))
            answer.fail()

    def _translated(self, scrape: Scrape, deadline: float) -> Iterator[bytes]:
        added = recorded.read(self._records) | machine.samples()
        translator = Translator(openmetrics=scrape.openmetrics, keep_rejected=self._show_rejected, added=added)
        yield machine.loadbalancer(openmetrics=scrape.openmetrics)
        for piece in exporter.fetch(deadline, self._upstream):
            yield translator.feed(piece)
            if translator.rejected:
                sys.stdout.buffer.writelines(translator.rejected)
                sys.stdout.buffer.flush()
                translator.rejected.clear()
        yield translator.finish()
        if scrape.openmetrics:
            yield b"# EOF\n"

    def _say(self, trouble: str) -> None:
        """Log a failure when it is another one than before, and that it is over."""
        if trouble != self._trouble:
            self._trouble = trouble
            sys.stderr.write(f"<4>{trouble}\n" if trouble else "<6>scrapes succeed again\n")
            sys.stderr.flush()


class _Answer:
    """One response on its way: held back at first, then sent piece by piece."""

    def __init__(self, connection: socket, scrape: Scrape, deadline: float) -> None:
        self._connection = connection
        self._scrape = scrape
        self._deadline = deadline
        self._held: list[bytes] = []
        self._size = 0
        self._begun = False

    def add(self, piece: bytes) -> None:
        """Send whole lines, soon.

        Raises:
            OSError: the client is gone or too slow.
        """
        if piece:
            self._held.append(piece)
            self._size += len(piece)
        if self._size >= HELD_BACK:
            self._flush()

    def finish(self) -> None:
        self._flush()
        if self._scrape.chunked:
            self._send(b"0\r\n\r\n")

    def fail(self) -> None:
        """Say 502 if nothing was said yet; otherwise the answer stays without its last chunk."""
        if not self._begun:
            self._connection.settimeout(1)
            self._connection.sendall(_response(b"502 Bad Gateway", b"content-length: 0\r\n"))

    def _flush(self) -> None:
        pieces = [b""]
        if not self._begun:
            kind = OPENMETRICS_TYPE if self._scrape.openmetrics else TEXT_TYPE
            fields = b"content-type: " + kind + b"\r\ncache-control: no-cache\r\n"
            pieces = [
                _response(b"200 OK", fields + (b"transfer-encoding: chunked\r\n" if self._scrape.chunked else b""))
            ]
            self._begun = True
        if self._size:
            chunked = self._scrape.chunked
            pieces += [b"%x\r\n" % self._size, *self._held, b"\r\n"] if chunked else self._held
        self._held, self._size = [], 0
        self._send(b"".join(pieces))

    def _send(self, data: bytes) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline of the scrape has passed")
        self._connection.settimeout(left)
        self._connection.sendall(data)


def _read_request(connection: socket) -> bytes:
    deadline = time.monotonic() + REQUEST_SECONDS
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        if len(data) > _LONGEST_REQUEST:
            raise BadRequest(b"431 Request Header Fields Too Large")
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        more = connection.recv(4096)
        if not more:
            raise OSError("the client said nothing")
        data += more
    return data[:end]


def _response(status: bytes, fields: bytes) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + fields + b"connection: close\r\n\r\n"
