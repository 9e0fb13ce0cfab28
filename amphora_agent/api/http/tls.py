"""Mutual TLS for the API: which certificate is shown, which clients are let in. Fails closed.

Decision: the certificate and CA files are looked at for every connection, and a new context is made only when one
of them has changed, so a rotated certificate serves the next connection at no cost for the others. Files that cannot
be loaded leave the previous context in place at run time, and stop the agent at start.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from amphora_agent.core.settings import Settings
from amphora_agent.errors import HostFailure
from amphora_agent.host import tls

LOG = logging.getLogger(__name__)


class ServerContext:
    """The TLS context of the moment.

    Raises:
        HostFailure: at construction, when the files cannot be loaded or clients could not be verified.
    """

    def __init__(self, settings: Settings) -> None:
        self._certificate = Path(settings.agent_server_cert)
        self._authority = Path(settings.agent_server_ca)
        self._minimum = tls.minimum_version(settings)
        self._identity = self._identify()
        self._context = self._load()

    def current(self) -> ssl.SSLContext:
        """Return the context for the next connection."""
        identity = self._identify()
        if identity != self._identity:
            self._identity = identity
            try:
                self._context = self._load()
                LOG.info("loaded the agent's certificate again")
            except HostFailure as error:
                LOG.error("kept the previous certificate: %s: %s", error, error.detail)
        return self._context

    def _identify(self) -> tuple[tuple[int, int, int] | None, ...]:
        identities: list[tuple[int, int, int] | None] = []
        for path in (self._certificate, self._authority):
            try:
                stat = path.stat()
                identities.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
            except OSError:
                identities.append(None)
        return tuple(identities)

    def _load(self) -> ssl.SSLContext:
        context = tls.server_context(self._certificate, self._minimum)
        tls.require_clients_of(context, self._authority)
        return context
