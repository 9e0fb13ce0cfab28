"""Replace the agent's configuration file. Both processes notice the new file by themselves."""

from __future__ import annotations

import contextlib
import logging
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.core.settings import Settings, parse_ini, parse_settings
from amphora_agent.errors import AgentError, HostFailure, MalformedData
from amphora_agent.host import files, tls
from amphora_agent.host.network import listening
from amphora_agent.operations.amphora import Change
from amphora_agent.operations.keepalived import vrrp

LOG = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


def replace(change: Change, body: bytes) -> None:
    """Check the new configuration and write it over the file the agent was started with.

    Raises:
        HostFailure: it cannot be parsed or written, or the agent could not start or serve with it; the old file is in
            force.
    """
    try:
        text = body.decode("utf-8")
        wanted = parse_settings(text)
        if not parse_ini(text):
            raise MalformedData("cannot use the configuration", "it is empty")
        _refuse_mistyped(wanted)
        _refuse_unusable(change.started, wanted)
        files.write_atomic(change.settings_file.path, body)
        change.settings_file.current()
        change.watchers.call(vrrp.MASTERSHIP_WATCHER)  # the topology may be another
    except UnicodeDecodeError as error:
        raise HostFailure("Unable to update amphora-agent configuration.", "the file is not UTF-8") from error
    except AgentError as error:
        raise HostFailure("Unable to update amphora-agent configuration.", f"{error}: {error.detail}") from error
    LOG.info("replaced the agent's configuration")


def _refuse_mistyped(wanted: Settings) -> None:
    """Refuse a number or switch that is none; one out of range counts as its default, and was meant to be one."""
    for oddity in wanted.oddities:
        if oddity.is_mistyped:
            raise MalformedData("cannot use the configuration", oddity.text)


def _refuse_unusable(started: Settings, wanted: Settings) -> None:
    """Refuse what an agent could not start or serve with, of the options that differ from those this one started with.

    Raises:
        MalformedData: the detail begins with the option's section and name, and has none of a secret.
    """
    for option, value in _directories(wanted).items():
        _require(option, is_usable=files.is_directory_or_free(Path(value)), reason="is no absolute path of a directory")
    _require("[amphora_agent] netns", is_usable=_NAME.fullmatch(wanted.netns) is not None, reason="is no plain name")
    if wanted.haproxy_cmd != started.haproxy_cmd:
        usable = files.is_executable(Path(wanted.haproxy_cmd))
        _require("[haproxy_amphora] haproxy_cmd", is_usable=usable, reason="is no program")
    _require("[haproxy_amphora] bind_port", is_usable=wanted.bind_port > 0, reason="must be from 1 to 65535")
    if wanted.bind_host != started.bind_host:
        with _naming("[haproxy_amphora] bind_host"):
            listening.check_address(wanted.bind_host, 0)
    if wanted.bind_port != started.bind_port:
        with _naming("[haproxy_amphora] bind_port"):
            listening.check_address(wanted.bind_host, wanted.bind_port)
    certificate, authority = Path(wanted.agent_server_cert), Path(wanted.agent_server_ca)
    if wanted.agent_server_cert != started.agent_server_cert:
        with _naming("[amphora_agent] agent_server_cert"):
            tls.server_context(certificate, tls.minimum_version(wanted))
    if wanted.agent_server_ca != started.agent_server_ca:
        with _naming("[amphora_agent] agent_server_ca"):
            tls.require_clients_of(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), authority)


def _directories(wanted: Settings) -> dict[str, str]:
    return {
        "[haproxy_amphora] base_path": wanted.base_path,
        "[haproxy_amphora] base_cert_dir": wanted.base_cert_dir,
        "[amphora_agent] agent_server_network_dir": wanted.agent_server_network_dir,
    }


def _require(option: str, *, is_usable: bool, reason: str) -> None:
    if not is_usable:
        raise MalformedData("cannot use the configuration", f"{option} {reason}")


@contextlib.contextmanager
def _naming(option: str) -> Iterator[None]:
    try:
        yield
    except HostFailure as error:
        raise MalformedData("cannot use the configuration", f"{option} cannot be used: {error.detail}") from error
