"""prometheus-proxy: HAProxy's metrics in Octavia's terms, on a loopback port of the load balancer's namespace.

Decision: the units and the agent start it inside the namespace, with `--here`. Without, as an older image's unit does,
it waits for the namespace and becomes itself again inside, by nsenter(1): what is needed once costs no memory after.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from amphora_agent.metrics.server import RECORDS, Server

NETNS = "/run/netns/amphora-haproxy"
EXIT_USAGE = 2
EXIT_CANNOT_START = 1
USAGE = "usage: prometheus-proxy [--rejected] [--here] [--records=DIRECTORY]\n"
WAIT_SECONDS = 1.0
_RECORDS = "--records="
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    """Serve until a signal ends it; return the exit code."""
    options = set(sys.argv[1:])
    records = next((option for option in options if option.startswith(_RECORDS)), _RECORDS + RECORDS)
    if options - {"--rejected", "--here", records}:
        sys.stderr.write(USAGE)
        return EXIT_USAGE
    if "--here" not in options:
        return enter()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        server = Server(records=records.removeprefix(_RECORDS), show_rejected="--rejected" in options)
    except OSError as error:
        sys.stderr.write(f"<3>cannot listen: {error}\n")
        return EXIT_CANNOT_START
    server.start()
    signal.sigwait(_SIGNALS)
    return 0


def enter() -> int:
    """Wait for the namespace, then go on inside; returns only what there is to say when that is impossible."""
    while not os.path.ismount(NETNS):
        time.sleep(WAIT_SECONDS)
    argv = ["nsenter", f"--net={NETNS}", sys.executable, "-m", "amphora_agent.cmd.prometheus_proxy"]
    try:
        os.execvp(argv[0], [*argv, *sys.argv[1:], "--here"])  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"<3>cannot run nsenter: {error}\n")
    return EXIT_CANNOT_START


if __name__ == "__main__":
    sys.exit(main())
