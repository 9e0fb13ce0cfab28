"""Exporters that answer as HAProxy's never should: scripted, on a loopback port of their own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def exporter(script: Script) -> Iterator[tuple[str, int]]:
    """Yield the address of an exporter that reads each request and then does what the script says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads: list[threading.Thread] = []

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(20)
                while b"\r\n\r\n" not in connection.recv(4096):
                    pass
                script(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    thread = threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True)
                    thread.start()
                    threads.append(thread)

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listening.getsockname()
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def saying(*pieces: bytes) -> Script:
    """Return a script that sends these bytes and closes."""

    def script(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return script


def chunked(body: bytes, *, whole: bool = True) -> bytes:
    """Return an answer in one chunk, as HAProxy gives them; without its end unless `whole`."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"%X\r\n" % len(body) + body + (b"\r\n0\r\n\r\n" if whole else b"")


def members(count: int) -> bytes:
    """Return the exposition of that many members' weights: about 60 bytes each."""
    lines = (b'haproxy_server_weight{proxy="pool:listener",server="member%07d"} 1\n' % n for n in range(count))
    return b"# TYPE haproxy_server_weight gauge\n" + b"".join(lines)
