"""HAProxy's own exporter as a stream of pieces, over one plain HTTP exchange with a deadline. Holds no more than one.

Decision: `_socket`, the C half of `socket`: the other half is 0.5 MB of the 12 that the whole proxy may have.
"""

from __future__ import annotations

import time
from _socket import AF_INET, socket
from collections.abc import Iterator

ADDRESS = ("127.0.0.1", 9101)
_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: prometheus-proxy\r\nConnection: close\r\n\r\n"
_PIECE = 16 * 1024
_LONGEST_HEAD = 16 * 1024
_LONGEST_SIZE_LINE = 1024


class ExporterFailure(Exception):
    """The exporter did not give a whole answer; the message says how."""


def fetch(deadline: float, address: tuple[str, int] = ADDRESS) -> Iterator[bytes]:
    """Yield the body of the exporter's answer as it comes, in pieces of at most 16 KiB.

    Args:
        deadline: until when all of it must be there, monotonic seconds.
        address: where the exporter listens.

    Raises:
        ExporterFailure: nobody listens, the answer is not 200 or no HTTP, it ends early or comes too slowly.
    """
    try:
        connection = socket(AF_INET)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(address)
            connection.sendall(_REQUEST)
            stream = _Stream(connection, deadline)
            yield from _body(stream, stream.head())
        finally:
            connection.close()
    except OSError as error:
        raise ExporterFailure(f"cannot ask the exporter: {error.strerror or error}") from error


def _body(stream: _Stream, head: bytes) -> Iterator[bytes]:
    status, *lines = head.split(b"\r\n")
    if status.split(b" ")[1:2] != [b"200"]:
        raise ExporterFailure(f"the exporter answers {status[:64]!r}")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        while size := stream.chunk_size():
            yield from stream.exactly(size)
            if stream.line() != b"":
                raise ExporterFailure("a chunk of the exporter's answer has no end")
    elif fields.get(b"content-length", b"").isdigit():
        yield from stream.exactly(int(fields[b"content-length"]))
    else:
        yield from stream.until_closed()


class _Stream:
    """What is left of a connection, read ahead by one piece at most."""

    def __init__(self, connection: socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._ahead = b""

    def head(self) -> bytes:
        """Return everything before the first empty line."""
        while (end := self._ahead.find(b"\r\n\r\n")) < 0:
            if len(self._ahead) > _LONGEST_HEAD or not self._read_on():
                raise ExporterFailure("the exporter does not answer in HTTP")
        head, self._ahead = self._ahead[:end], self._ahead[end + 4 :]
        return head

    def line(self) -> bytes:
        while (end := self._ahead.find(b"\r\n")) < 0:
            if len(self._ahead) > _LONGEST_SIZE_LINE or not self._read_on():
                raise ExporterFailure("the exporter's answer is cut")
        line, self._ahead = self._ahead[:end], self._ahead[end + 2 :]
        return line

    def chunk_size(self) -> int:
        try:
            size = int(self.line().partition(b";")[0], 16)
        except ValueError:
            size = -1
        if size < 0:
            raise ExporterFailure("the exporter's answer has no proper chunks")
        return size

    def exactly(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._ahead and not self._read_on():
                raise ExporterFailure("the exporter's answer is cut")
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
            size -= len(piece)
            yield piece

    def until_closed(self) -> Iterator[bytes]:
        while self._ahead or self._read_on():
            piece, self._ahead = self._ahead, b""
            yield piece

    def _read_on(self) -> bool:
        self._connection.settimeout(_left(self._deadline))
        data = self._connection.recv(_PIECE)
        self._ahead += data
        return bool(data)


def _left(deadline: float) -> float:
    """Return the seconds until the deadline; one that has passed is a time-out at once."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline of the scrape has passed")
    return left
