"""amphora-heartbeat: send heartbeats until a signal ends it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from amphora_agent import log
from amphora_agent.core.heartbeat.schedule import phase_of
from amphora_agent.errors import AgentError
from amphora_agent.heartbeat.loop import Heartbeat, run
from amphora_agent.host.file_watch import FileWatch
from amphora_agent.host.notify import notify
from amphora_agent.host.procfs import process_start_time
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.termination import Termination

LOG = logging.getLogger(__name__)

DEFAULT_CONFIG = Path("/etc/octavia/amphora-agent.conf")
EXIT_CANNOT_START = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code. Without `argv`, the command's own arguments count."""
    path = _parse_arguments(list(sys.argv[1:] if argv is None else argv))
    log.configure(debug=False, facility=None, identifier="amphora-heartbeat")
    try:
        settings_file = SettingsFile(path)
        settings = settings_file.current()
    except AgentError as error:
        LOG.error("%s: %s", error, error.detail)
        return EXIT_CANNOT_START
    facility = settings.administrative_log_facility if settings.use_syslog else None
    log.configure(debug=settings.debug, facility=facility, identifier="amphora-heartbeat")
    termination = Termination()
    changes = FileWatch(path)
    if changes.descriptor is not None:
        termination.watch(changes.descriptor, changes.clear)
    heartbeat = Heartbeat(settings_file, started=process_start_time(os.getpid()) or 0)
    LOG.info("heartbeats begin amphora=%s interval=%d s", settings.amphora_id, settings.heartbeat_interval)
    run(heartbeat, settings_file, termination.wait, phase_of(settings.amphora_id or ""))
    notify("STOPPING=1")
    heartbeat.close()
    LOG.info("heartbeats end")
    return 0


def _parse_arguments(arguments: list[str]) -> Path:
    parser = argparse.ArgumentParser(description="Send heartbeats to the controllers.")
    parser.add_argument("--config-file", type=Path, default=DEFAULT_CONFIG, help="configuration file of the agent")
    known, ignored = parser.parse_known_args(arguments)
    if ignored:
        LOG.debug("ignored options %s", ignored)
    return Path(known.config_file)


if __name__ == "__main__":
    sys.exit(main())
