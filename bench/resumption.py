"""Whether clients go on with their TLS sessions while members and certificates change. Every loop is bounded."""

from __future__ import annotations

import hashlib
import ssl
from http import HTTPStatus

from bench.arena import LISTENER, PORT, Arena, arena, configuration, member_ids
from bench.contestants import Contestant
from testbed.amphora import LB_ID
from testbed.certificates import Minted, mint
from testbed.scenario import VIP

CHANGES = 50
_MEMBERS = 10
_VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def resumption(contestant: Contestant) -> dict[str, float]:
    """The share of TLS sessions resumed after each of 50 changes: a member and a certificate in turn."""
    minted, ids = mint(CHANGES // 2 + 1), member_ids(_MEMBERS + CHANGES)
    figures: dict[str, float] = {}
    with arena(contestant) as place:
        _store_certificate(place, minted)
        place.apply(_configuration(place, ids[:_MEMBERS]))
        clients = [_Client(place, version) for version in _VERSIONS]
        resumed = 0
        for number in range(1, CHANGES + 1):
            if number % 2:
                _store_certificate(place, minted)
            place.apply(_configuration(place, ids[: _MEMBERS + number // 2]))
            resumed += sum(client.resumes() for client in clients)
            figures[f"resumed after {number}"] = resumed / len(clients)
    return figures | {"resumed": resumed / len(clients) / CHANGES * 100}


class _Client:
    """A client that keeps the newest session the load balancer gave it."""

    def __init__(self, place: Arena, version: ssl.TLSVersion) -> None:
        self._place = place
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.minimum_version = self._context.maximum_version = version
        self._session: ssl.SSLSession | None = None
        self.resumes()

    def resumes(self) -> bool:
        """Connect, and return whether that went on with the session of before."""
        with (
            self._place.clients.connect(VIP, PORT) as plain,
            self._context.wrap_socket(plain, session=self._session) as connection,
        ):
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"  # TLS 1.3 gives sessions after the handshake, before the first data
            self._session = connection.session
            return bool(connection.session_reused)


def _store_certificate(place: Arena, minted: Minted) -> None:
    """Do what the controller does for a renewed certificate: a new file, and a list with its path."""
    pem = minted.next_certificate()
    name = f"{hashlib.sha1(pem, usedforsecurity=False).hexdigest()}.pem"
    for file, body in ((name, pem), (f"{LISTENER}.pem", f"{_directory(place)}/{name}\n".encode())):
        reply = place.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/certificates/{file}", body)
        assert reply.status == HTTPStatus.OK, reply


def _configuration(place: Arena, ids: tuple[str, ...]) -> str:
    plain = f"bind {VIP}:{PORT}\n"
    secure = f"bind {VIP}:{PORT} ssl crt-list {_directory(place)}/{LISTENER}.pem no-sslv3 no-tlsv10 no-tlsv11\n"
    return configuration(place.amphora, ids).replace(plain, secure)


def _directory(place: Arena) -> str:
    return f"{place.amphora.inner(place.amphora.cert_dir)}/{LB_ID}"
