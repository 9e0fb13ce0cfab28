"""What the doctor sees of certificates and revocation lists: when they end, and whether ours can be used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.core.doctor.facts import Certificate
from amphora_agent.core.metrics.certificate import next_update, validity
from amphora_agent.core.paths import Paths
from amphora_agent.core.settings import Settings
from amphora_agent.errors import HostFailure
from amphora_agent.host import files, tls


def observe(settings: Settings, paths: Paths) -> Iterator[Certificate]:
    """Yield the agent's certificate, the controllers' authority and all that listeners use."""
    yield _certificate(paths.agent_cert, "agent", _trouble_of_ours(settings, paths.agent_cert))
    yield _certificate(Path(settings.agent_server_ca), "controllers")
    for path in sorted(paths.certs.glob("*/*.pem")):
        with contextlib.suppress(HostFailure):
            yield from _of_a_listener(path, files.read_optional(path) or b"")


def _of_a_listener(path: Path, data: bytes) -> Iterator[Certificate]:
    period, update = validity(data), next_update(data)
    if period is not None:
        yield Certificate(path=str(path), use="listener", begin=period[0], end=period[1])
    if update is not None:
        yield Certificate(path=str(path), use="revocations", end=update)


def _certificate(path: Path, use: str, trouble: str = "") -> Certificate:
    try:
        data = files.read_named(path)
    except HostFailure as error:
        return Certificate(path=str(path), use=use, trouble=trouble or error.detail)
    if data is None:
        return Certificate(path=str(path), use=use, trouble="there is no such file")
    period = validity(data)
    if period is None:
        return Certificate(path=str(path), use=use, trouble=trouble or "there is no certificate in it")
    return Certificate(path=str(path), use=use, begin=period[0], end=period[1], trouble=trouble)


def _trouble_of_ours(settings: Settings, path: Path) -> str:
    try:
        tls.server_context(path, tls.minimum_version(settings))
    except HostFailure as error:
        return error.detail
    return ""
