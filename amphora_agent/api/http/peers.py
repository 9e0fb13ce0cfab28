"""Who asks, told to what is served: as a layer around the WSGI application. Lets nobody in and keeps nobody out."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from amphora_agent.api.http.refusals import PROBLEM_TYPE, PROBLEMS_BELOW, Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# "uid 0" over the UNIX socket, "CN=octavia-controller" over TLS.
PEER = "amphora.peer"
_LOCAL_PATHS = PROBLEMS_BELOW.decode()


def local_address(uid: int) -> tuple[str, int]:
    """Return what stands for the address of a client on the UNIX socket.

    gunicorn takes headers that change paths and schemes from clients without an address.
    """
    return f"uid {uid}", 0


def with_peer(application: WSGIApplication) -> WSGIApplication:
    """Return the application behind a layer that says who asks; over the UNIX socket there is nothing of API 1.0."""

    def layer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        door: socket.socket = environ["gunicorn.socket"]
        if door.family == socket.AF_UNIX:
            environ[PEER] = environ["REMOTE_ADDR"]
            if not environ["PATH_INFO"].startswith(_LOCAL_PATHS):
                return _refuse(Refusal.NOT_FOUND, f"this socket serves what is below {_LOCAL_PATHS}", start_response)
        else:
            environ[PEER] = f"CN={common_name(door)}"
        return application(environ, start_response)

    return layer


def refusing(refusal: Refusal, detail: str) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    """Return an application that refuses everything."""
    return lambda _, start_response: _refuse(refusal, detail, start_response)


def common_name(door: socket.socket) -> str:
    """Return the common name of a client's certificate, empty when it has none."""
    certificate = door.getpeercert() if isinstance(door, ssl.SSLSocket) else None
    subject: Iterable[tuple[tuple[str, str], ...]] = (certificate or {}).get("subject", ())  # type: ignore[assignment]
    return next((value for names in subject for name, value in names if name == "commonName"), "")


def _refuse(refusal: Refusal, detail: str, start_response: StartResponse) -> Iterable[bytes]:
    body = refusal.problem(detail)
    headers = [("Content-Type", PROBLEM_TYPE), ("Content-Length", str(len(body)))]
    start_response(f"{refusal.status.value} {refusal.status.phrase}", headers)
    return [body]
