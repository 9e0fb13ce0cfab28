"""TLS contexts of the agent's server, from its files; and whether TLS can be spoken with a certificate. Serves nobody.

Decision: whatever stands in the client CA file is trusted, an intermediate CA without its root too. Operators whose CA
for controllers is an intermediate put that one into the file, and mean its clients alone.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from amphora_agent.core.settings import Settings
from amphora_agent.errors import HostFailure

# A file with an encrypted key must not have OpenSSL ask for its password on a terminal.
_NO_PASSWORD = b""
# Flights of a handshake, both ways; three are usual.
_MOST_FLIGHTS = 10


def minimum_version(settings: Settings) -> ssl.TLSVersion:
    """Return the oldest version of TLS that is spoken."""
    return ssl.TLSVersion.TLSv1_3 if settings.agent_tls_protocol == "TLSv1.3" else ssl.TLSVersion.TLSv1_2


def server_context(certificate: Path, minimum: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a context that shows a certificate and asks clients for none.

    Args:
        certificate: PEM file with the certificate, its chain and its key.
        minimum: the oldest version of TLS to speak.

    Raises:
        HostFailure: the file cannot be used; the detail has OpenSSL's word for it and nothing of the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    try:
        context.load_cert_chain(certificate, password=_NO_PASSWORD)
    except (OSError, ValueError) as error:
        raise HostFailure(f"cannot load the agent's certificate {certificate}", _reason(error)) from error
    return context


def require_clients_of(context: ssl.SSLContext, authority: Path) -> None:
    """Let only clients of these CAs in.

    Raises:
        HostFailure: the file has no CA, or cannot be loaded; nobody may be served with this context.
    """
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cafile=authority)
    except (OSError, ValueError) as error:
        raise HostFailure(f"cannot load the client CA {authority}", _reason(error)) from error
    if context.cert_store_stats()["x509"] == 0 or context.verify_mode is not ssl.CERT_REQUIRED:
        raise HostFailure("cannot verify clients", f"no CA certificate in {authority}")


def check_handshake(context: ssl.SSLContext) -> None:
    """Shake hands with a context that asks for no client certificate, in memory, as any client would.

    Raises:
        HostFailure: no client could; such as one with a DSA key.
    """
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(_MOST_FLIGHTS):
            if _is_done(client) & _is_done(server):
                return
    except ssl.SSLError as error:
        raise HostFailure("cannot speak TLS with the certificate", _reason(error)) from error
    raise HostFailure("cannot speak TLS with the certificate", "the handshake does not end")


def _is_done(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _reason(error: Exception) -> str:
    """Return OpenSSL's word for what is wrong."""
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
