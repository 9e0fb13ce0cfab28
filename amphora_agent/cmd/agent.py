"""amphora-agent: the HTTPS API, and the heartbeat process unless a unit of its own runs it.

Decision: where systemd watches over the agent and runs the heartbeat, this process serves by itself. Else it becomes
the small parent of one that serves and, unless `--no-heartbeat` says otherwise, one that sends heartbeats. Only who
serves imports what serving needs.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from amphora_agent import log
from amphora_agent.cmd import heartbeat
from amphora_agent.core.settings import Settings, SupervisorKind
from amphora_agent.errors import AgentError
from amphora_agent.host.keeper import Child, Keeper
from amphora_agent.host.notify import feeding_interval
from amphora_agent.host.settings_file import SettingsFile

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from amphora_agent.host.supervisor.protocol import Supervisor

LOG = logging.getLogger(__name__)

DEFAULT_CONFIG = Path("/etc/octavia/amphora-agent.conf")
EXIT_CANNOT_START = 1
# Of the API: longer than it gives requests that are being served.
STOP_SECONDS = 55.0
HEARTBEAT_STOP_SECONDS = 5.0


def main() -> int:
    """Run the agent until a signal ends it; return the exit code."""
    arguments = _parse_arguments(sys.argv[1:])
    log.configure(debug=False, facility=None, identifier="amphora-agent")
    try:
        settings_file = SettingsFile(arguments.config_file)
    except AgentError as error:
        return _cannot_start(error)
    settings = settings_file.current()
    facility = settings.administrative_log_facility if settings.use_syslog else None
    log.configure(debug=settings.debug, facility=facility, identifier="amphora-agent")
    if arguments.no_heartbeat and feeding_interval() is not None:
        return _run(settings_file, settings)
    watchdog = float(settings.agent_request_read_timeout)
    children = [Child("amphora-agent", lambda: _run(settings_file, settings), STOP_SECONDS, watchdog)]
    if not arguments.no_heartbeat:
        argv = ["--config-file", str(settings_file.path)]
        children.append(Child("amphora-hbeat", lambda: heartbeat.main(argv), HEARTBEAT_STOP_SECONDS))
    return Keeper(tuple(children)).run()


def _run(settings_file: SettingsFile, settings: Settings) -> int:
    """Serve; never returns into threads that still work, since their time to end is over."""
    code = 0
    try:
        serve(settings_file, settings)
    except AgentError as error:
        code = _cannot_start(error)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except Exception:
        LOG.exception("the agent met a surprise")
        code = EXIT_CANNOT_START
    sys.stderr.flush()
    os._exit(code)


def _cannot_start(error: AgentError) -> int:
    LOG.critical("cannot start the agent: %s: %s", error, error.detail)
    return EXIT_CANNOT_START


def serve(settings_file: SettingsFile, settings: Settings) -> None:
    """Put the agent together and serve.

    Raises:
        AgentError: it cannot start; nothing listens.
    """
    from amphora_agent.api.http.server import HttpsServer  # noqa: PLC0415 - see above
    from amphora_agent.core.paths import paths_of  # noqa: PLC0415
    from amphora_agent.host import memory  # noqa: PLC0415
    from amphora_agent.operations.amphora import Amphora  # noqa: PLC0415

    memory.keep_large_blocks_apart()
    paths = paths_of(settings)
    supervisor, look_after_units = _supervisor(settings)
    amphora = Amphora(settings_file=settings_file, started=settings, paths=paths, supervisor=supervisor)

    def load() -> WSGIApplication:
        from amphora_agent.api.dispatch import Dispatcher  # noqa: PLC0415 - the worker alone pays for it

        return Dispatcher(amphora)

    def on_worker_start(tell: Callable[[], None]) -> None:
        from amphora_agent.operations import startup  # noqa: PLC0415 - as above

        amphora.events.subscribe(tell)
        startup.prepare(amphora)
        startup.begin(amphora, look_after_units)

    HttpsServer(settings, load, on_worker_start).run()


def _supervisor(settings: Settings) -> tuple[Supervisor, Callable[[], float] | None]:
    from amphora_agent.core.paths import paths_of  # noqa: PLC0415 - see above
    from amphora_agent.host.supervisor.direct import DirectSupervisor  # noqa: PLC0415
    from amphora_agent.host.supervisor.systemd import SystemdSupervisor, is_booted  # noqa: PLC0415

    kind = settings.supervisor
    if kind is SupervisorKind.SYSTEMD or (kind is SupervisorKind.AUTO and is_booted()):
        return SystemdSupervisor(), None
    direct = DirectSupervisor(paths_of(settings).agent / "units")
    return direct, direct.look_after


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
