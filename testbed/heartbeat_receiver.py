"""The controller's end of the heartbeats, for tests: receives, verifies and decodes them by the contract's words."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from testbed.namespaces import Namespace

DIGEST_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One datagram as it came, and the message inside."""

    envelope: bytes
    message: Any


@dataclass(frozen=True, slots=True)
class HeartbeatReceiver:
    """A bound UDP socket; a context manager. Datagrams wait in the kernel until they are read."""

    socket: socket.socket
    key: str

    @staticmethod
    def listen(namespace: Namespace, address: str, port: int, key: str) -> HeartbeatReceiver:
        """Bind inside a namespace; do so before the agent starts and nothing is missed."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        receiver = namespace.open_socket(family, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind((address, port))
        return HeartbeatReceiver(receiver, key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def receive(self, *, timeout: float = 10.0) -> Heartbeat:
        """Return the next heartbeat; TimeoutError when none comes, ValueError when it is not signed with the key."""
        self.socket.settimeout(max(timeout, 0.001))
        envelope = self.socket.recv(65536)
        return Heartbeat(envelope, unseal(envelope, self.key))

    def receive_until(self, condition: Callable[[Any], bool], *, timeout: float = 20.0) -> Heartbeat:
        """Return the first heartbeat whose message fulfils the condition; TimeoutError names the last one seen."""
        deadline = time.monotonic() + timeout
        last: Heartbeat | None = None
        while (left := deadline - time.monotonic()) > 0:
            try:
                last = self.receive(timeout=left)
            except TimeoutError:
                break
            if condition(last.message):
                return last
        raise TimeoutError(f"no such heartbeat within {timeout:g} s; the last: {last and last.message}")

    def drain(self) -> int:
        """Forget what has arrived so far and return how many datagrams that was."""
        self.socket.setblocking(False)
        count = 0
        while True:
            try:
                self.socket.recv(65536)
            except BlockingIOError:
                return count
            count += 1


def unseal(envelope: bytes, key: str) -> Any:
    """Return the message of a signed datagram.

    Raises:
        ValueError: the digest, the compression or the JSON is wrong.
    """
    stream, digest = envelope[:-DIGEST_CHARACTERS], envelope[-DIGEST_CHARACTERS:]
    wanted = hmac.new(key.encode(), stream, hashlib.sha256).hexdigest().encode()
    if not hmac.compare_digest(wanted, digest):
        raise ValueError("the heartbeat is not signed with this key")
    try:
        return json.loads(zlib.decompress(stream))
    except zlib.error as error:
        raise ValueError(f"cannot decompress the heartbeat: {error}") from error
