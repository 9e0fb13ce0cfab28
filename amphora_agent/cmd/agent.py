"""amphora-agent: the HTTPS API, and the heartbeat process unless a unit of its own runs it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from amphora_agent import log
from amphora_agent.api.http.server import HttpsServer
from amphora_agent.core.paths import paths_of
from amphora_agent.core.settings import Settings, SupervisorKind
from amphora_agent.errors import AgentError
from amphora_agent.host import memory
from amphora_agent.host.companion import Companion
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.supervisor.direct import DirectSupervisor
from amphora_agent.host.supervisor.protocol import Supervisor
from amphora_agent.host.supervisor.systemd import SystemdSupervisor, is_booted
from amphora_agent.operations.amphora import Amphora

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)

DEFAULT_CONFIG = Path("/etc/octavia/amphora-agent.conf")
EXIT_CANNOT_START = 1


def main() -> int:
    """Run the agent until a signal ends it; return the exit code."""
    arguments = _parse_arguments(sys.argv[1:])
    log.configure(debug=False, facility=None, identifier="amphora-agent")
    try:
        settings_file = SettingsFile(arguments.config_file)
        settings = settings_file.current()
        facility = settings.administrative_log_facility if settings.use_syslog else None
        log.configure(debug=settings.debug, facility=facility, identifier="amphora-agent")
        serve(settings_file, settings, with_heartbeat=not arguments.no_heartbeat)
    except AgentError as error:
        LOG.critical("cannot start the agent: %s: %s", error, error.detail)
        return EXIT_CANNOT_START
    return 0


def serve(settings_file: SettingsFile, settings: Settings, *, with_heartbeat: bool) -> None:
    """Put the agent together and serve.

    Raises:
        AgentError: it cannot start; nothing listens.
    """
    paths = paths_of(settings)
    supervisor, look_after_units = _supervisor(settings)
    amphora = Amphora(settings_file=settings_file, started=settings, paths=paths, supervisor=supervisor)

    def load() -> WSGIApplication:
        from amphora_agent.api.dispatch import Dispatcher  # noqa: PLC0415 - the worker alone pays for it

        return Dispatcher(amphora)

    def on_worker_start(tell: Callable[[], None]) -> None:
        from amphora_agent.operations import startup  # noqa: PLC0415 - as above

        memory.keep_large_blocks_apart()
        amphora.events.subscribe(tell)
        startup.prepare(amphora)
        startup.begin(amphora, look_after_units)

    companion = Companion("amphora-hbeat", lambda: _heartbeat(settings_file.path)) if with_heartbeat else None
    HttpsServer(settings, load, on_worker_start, companion).run()


def _supervisor(settings: Settings) -> tuple[Supervisor, Callable[[], float] | None]:
    kind = settings.supervisor
    if kind is SupervisorKind.SYSTEMD or (kind is SupervisorKind.AUTO and is_booted()):
        return SystemdSupervisor(), None
    direct = DirectSupervisor(paths_of(settings).agent / "units")
    return direct, direct.look_after


def _heartbeat(config_file: Path) -> int:
    from amphora_agent.cmd import heartbeat  # noqa: PLC0415 - the companion alone pays for it

    return heartbeat.main(["--config-file", str(config_file)])


def _parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="amphora-agent", description="Serve the amphora's API.", allow_abbrev=False)
    parser.add_argument("--config-file", type=Path, default=DEFAULT_CONFIG, help=f"default: {DEFAULT_CONFIG}")
    parser.add_argument("--no-heartbeat", action="store_true", help="a unit of its own sends the heartbeats")
    arguments, ignored = parser.parse_known_args(argv)
    if ignored:
        sys.stderr.write(f"<4>ignored options of older agents: {' '.join(ignored)}\n")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
