"""An agent's end of the UNIX socket that answers as it was told to, for answers that a real agent gives too seldom."""

from __future__ import annotations

import json
import socketserver
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer; `raw` in place of a document."""

    status: int = 200
    document: object = None
    etag: str = ""
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body."""
        return json.loads(self.body)


class _Server(socketserver.ThreadingUnixStreamServer):
    """Says nothing of clients that go before they have their answer."""

    def handle_error(self, *_: object) -> None:
        """Pass over it."""


@dataclass(slots=True)
class ScriptedAgent:
    """A context manager; `answers` has what to say to each method and path, in order, the last one again and again."""

    answers: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    _directory: tempfile.TemporaryDirectory[str] = field(init=False)
    _server: socketserver.ThreadingUnixStreamServer = field(init=False)

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return Path(self._directory.name) / "agent.sock"

    def on(self, method: str, path: str, *replies: Reply) -> Self:
        """Have a request answered."""
        self.answers[method, path] = list(replies)
        return self

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="ctl-")
        agent = self

        class Handler(BaseHTTPRequestHandler):
            """Answers from the script."""

            def address_string(self) -> str:
                return "socket"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _answer(self) -> None:
                agent.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the library looks for these names

        self._server = _Server(str(self.socket), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._directory.cleanup()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Note a request and answer it."""
        parts = urlsplit(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(Asked(request.command, parts.path, dict(parse_qsl(parts.query)), headers, body))
        script = self.answers.get(
            (request.command, parts.path), [Reply(404, problem(404, "not-found", "There is none"))]
        )
        reply = script.pop(0) if len(script) > 1 else script[0]
        data = reply.raw if reply.raw is not None else json.dumps(reply.document).encode()
        if reply.status == 0:
            request.close_connection = True
            return
        request.send_response(reply.status)
        request.send_header("Content-Length", str(len(data)))
        if reply.etag:
            request.send_header("ETag", reply.etag)
        request.end_headers()
        request.wfile.write(data)


def problem(status: int, slug: str, title: str, **more: object) -> dict[str, object]:
    """Return an error as RFC 9457 has it."""
    return {"type": f"/2.0/problems/{slug}", "title": title, "status": status, "detail": "", **more}
