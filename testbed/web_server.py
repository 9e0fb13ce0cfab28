"""Web servers as members for tests: each answers every request with its own name, from inside a namespace."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
from typing import Any, Self

from testbed.namespaces import Namespace


class WebServer:
    """An HTTP server that says `name`; a context manager. `stop` closes its port as a crash would, `start` opens it."""

    def __init__(self, namespace: Namespace, address: str, port: int, name: str) -> None:
        self._namespace, self._address, self._port, self._name = namespace, address, port, name
        self._server: _Server | None = None

    def start(self) -> None:
        """Open the port and answer from a thread of its own."""
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        listening = self._namespace.open_socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((self._address, self._port))
        listening.listen(128)
        self._server = _Server(listening, self._name)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Close the port and every connection; harmless when repeated."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, name: str) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.text = listening, name.encode()
        self.connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in tuple(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Stay silent: clients and health checks come and go as they like."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.text)))
        self.end_headers()
        self.wfile.write(self.server.text)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def get(namespace: Namespace, address: str, port: int, *, timeout: float = 5.0) -> str:
    """Return the body of `GET /` fetched from inside a namespace; raises OSError when nobody answers."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    with contextlib.closing(connection):
        connection.sock = namespace.connect(address, port, timeout=timeout)
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
