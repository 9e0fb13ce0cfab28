"""The agent's API 2.0 over its UNIX socket or mutual TLS: one connection for one request. Prints nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.node import Node

if TYPE_CHECKING:
    import ssl

DEFAULT_PORT = 9443
_CONFLICTS = (http.HTTPStatus.CONFLICT, http.HTTPStatus.PRECONDITION_FAILED)
_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the agent is: `url` when it is given, else the socket. `timeout` is seconds for one answer.

    `server_name` is what the agent's certificate has to say, where that is not the host of the URL.
    """

    socket_path: Path
    url: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    server_name: str | None = None
    timeout: float = 120.0

    def __str__(self) -> str:
        return self.url or str(self.socket_path)


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def etag(self) -> str:
        """The version of what was asked for, empty when it has none."""
        return self.headers.get("etag", "")

    def json(self) -> Node:
        """Return the body.

        Raises:
            CommandFailure: it is no JSON.
        """
        try:
            return Node(json.loads(self.body))
        except (ValueError, RecursionError) as error:
            raise CommandFailure(Exit.UNREACHABLE, "the answer is no JSON; is this an amphora agent?") from error


class Client:
    """Asks one agent."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        document: object = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 0.0,
    ) -> Answer:
        """Send one request and return its answer.

        Args:
            method: of HTTP.
            path: below `/2.0`, percent-encoded where needed; see `path_of`.
            query: further parameters.
            document: to be sent as JSON.
            body: to be sent as it is, when there is no `document`.
            headers: further ones, such as If-Match.
            wait: seconds that the agent was asked to wait before it answers.

        Raises:
            CommandFailure: the agent cannot be reached, or does not do what it was asked to.
        """
        all_headers = {"Accept": _JSON, **(headers or {})}
        if document is not None:
            body = json.dumps(document).encode()
        if document is not None or body is not None:
            all_headers.setdefault("Content-Type", _JSON if document is not None else "application/octet-stream")
        target = f"/2.0{path}" + (f"?{urlencode(query)}" if query else "")
        answer = self._exchange(method, target, body, all_headers, wait)
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise _failure(answer)
        return answer

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], wait: float
    ) -> Answer:
        try:
            with contextlib.closing(self._connection(self._address.timeout + wait)) as connection:
                connection.request(method, target, body=body, headers=dict(headers))
                response = connection.getresponse()
                names = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, names, response.read())
        except TimeoutError as error:
            message = f"no answer from {self._address} within {self._address.timeout + wait:g} s"
            raise CommandFailure(Exit.UNREACHABLE, message) from error
        except OSError as error:
            raise self._unreachable(error) from error
        except http.client.HTTPException as error:
            message = f"{self._address} does not answer as an agent does: {type(error).__name__}"
            raise CommandFailure(Exit.UNREACHABLE, message) from error

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._address.url is None:
            return _UnixConnection(self._address.socket_path, timeout)
        parts = urlsplit(self._address.url)
        if parts.scheme != "https" or not parts.hostname:
            raise CommandFailure(Exit.USAGE, f"{self._address.url!r} is no https:// address")
        return _TlsConnection(parts.hostname, parts.port or DEFAULT_PORT, timeout, self._address)

    def _unreachable(self, error: OSError) -> CommandFailure:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        hints = ["`amphoractl doctor` finds out why; it needs no agent"]
        if self._address.url is None and isinstance(error, PermissionError):
            hints = ["the socket is for root and for members of the group that api_socket_group names"]
        return CommandFailure(Exit.UNREACHABLE, f"cannot reach the agent at {self._address}: {reason}", *hints)


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a UNIX socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _TlsConnection(http.client.HTTPConnection):
    """A mutual-TLS connection whose certificate may name the amphora and not the address."""

    def __init__(self, host: str, port: int, timeout: float, address: Address) -> None:
        super().__init__(host, port, timeout=timeout)
        self._server_name = address.server_name or host
        self._context = _tls_context(address)

    def connect(self) -> None:
        """Connect and shake hands."""
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._server_name)


def _tls_context(address: Address) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - not for the socket on the machine

    if address.certificate is None or address.authority is None:
        raise CommandFailure(Exit.USAGE, "an address needs --cert and --ca, too: `amphoractl pki` makes both")
    try:
        context = ssl.create_default_context(cafile=str(address.authority))
        context.load_cert_chain(address.certificate, address.key)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise CommandFailure(Exit.USAGE, f"cannot use the certificates: {reason}") from error
    return context


def path_of(*segments: str) -> str:
    """Return a path of names, each percent-encoded."""
    return "".join(f"/{quote(segment, safe='', errors='surrogateescape')}" for segment in segments)


def _failure(answer: Answer) -> CommandFailure:
    """Return what an answer that is no good one means. Source: RFC 9457."""
    try:
        problem = Node(json.loads(answer.body))
    except (ValueError, RecursionError):
        problem = Node(None)
    title = problem.text("title") or problem.text("message") or f"HTTP status {answer.status}"
    detail = problem.text("detail") or problem.text("details")
    lines = [_line(each) for each in problem.nodes("errors")]
    if answer.status == http.HTTPStatus.PRECONDITION_FAILED and problem.text("etag"):
        lines.append(f"the current version is {problem.text('etag')}")
    code = Exit.CONFLICT if answer.status in _CONFLICTS else Exit.REFUSED
    message = f"{title.rstrip('.')}: {detail}" if detail and detail != title else title
    return CommandFailure(code, message, *lines, problem=problem.value)


def _line(error: Node) -> str:
    where, pointer = error.text("where"), error.text("pointer")
    wanted = f", expected {error.text('expected')}" if error.text("expected") else ""
    return f"{where or 'the document'}: {error.text('detail')}{wanted}" + (f" ({pointer})" if pointer else "")
