"""A client that sends any bytes over mutual TLS and reads answers one by one; it keeps its connection while it can."""

from __future__ import annotations

import contextlib
import json
import ssl
from dataclasses import dataclass, field

from testbed.amphora import AGENT_ADDRESS, AGENT_PORT, RunningAmphora

STATUSES = frozenset({200, 202, 400, 404, 405, 409, 500, 503})
_TIMEOUT = 100.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came."""

    status: int
    head: bytes
    body: bytes

    def wrong(self) -> str | None:
        """Return in which way the answer breaks the contract, None when it keeps it."""
        if self.status not in STATUSES:
            return f"status {self.status}"
        if b"see the agent's log" in self.body:
            return "a surprise"
        if b"\r\ncontent-type: text/plain" in self.head.lower():
            return None if self.status == 200 else "no JSON"
        if b"\r\ncontent-type: application/json" not in self.head.lower():
            return "no JSON"
        try:
            json.loads(self.body or b"{}")  # HEAD has none
        except ValueError:
            return "no JSON"
        return None


@dataclass(slots=True)
class Wire:
    """One client; `close` it."""

    amphora: RunningAmphora
    _socket: ssl.SSLSocket | None = field(init=False, default=None)
    _rest: bytearray = field(init=False, default_factory=bytearray)

    def send(self, data: bytes, *, has_body: bool = True) -> Answer | None:
        """Send one request's bytes and return the answer, None when the agent hung up without one.

        A kept connection may have ended meanwhile: then the bytes are sent once more on a new one.
        """
        is_kept = self._socket is not None
        answer = self._send(data, has_body=has_body)
        return self._send(data, has_body=has_body) if answer is None and is_kept else answer

    def close(self) -> None:
        """Hang up; the next `send` connects again."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._rest.clear()

    def _send(self, data: bytes, *, has_body: bool) -> Answer | None:
        answer = None
        if self._socket is None:
            plain = self.amphora.client.connect(AGENT_ADDRESS, AGENT_PORT, timeout=_TIMEOUT)
            self._socket = self.amphora.context.wrap_socket(plain, server_hostname=self.amphora.amphora_id)
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            self._socket.sendall(data)
            answer = self._read(has_body=has_body)
        if answer is None or b"\r\nconnection: close" in answer.head.lower():
            self.close()
        return answer

    def _read(self, *, has_body: bool) -> Answer | None:
        while (end := self._rest.find(b"\r\n\r\n")) < 0:
            if not self._more():
                return None
        head = bytes(self._rest[:end])
        del self._rest[: end + 4]
        if head.startswith(b"HTTP/1.1 100 "):
            return self._read(has_body=has_body)
        fields = [line.partition(b":") for line in head.lower().split(b"\r\n")]
        length = next((int(value) for name, _, value in fields if name == b"content-length"), 0) if has_body else 0
        while len(self._rest) < length:
            if not self._more():
                return None
        body = bytes(self._rest[:length])
        del self._rest[:length]
        return Answer(int(head.split(b" ", 2)[1]), head, body)

    def _more(self) -> bool:
        assert self._socket is not None
        data = self._socket.recv(65536)
        self._rest += data
        return bool(data)
