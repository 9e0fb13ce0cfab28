"""prometheus-proxy: HAProxy's metrics in Octavia's terms, on a loopback port of the load balancer's namespace.

Decision: the units start it inside the namespace, with `--here`. Without, as an older image's unit does, it waits for
the namespace. Either way it then becomes another program, inside by nsenter(1) if need be: what is needed once costs no
memory after.
"""

from __future__ import annotations

import os
import sys
import time

NETNS = "/run/netns/amphora-haproxy"
EXIT_USAGE = 2
EXIT_CANNOT_START = 1
USAGE = "usage: prometheus-proxy [--rejected] [--here] [--records=DIRECTORY]\n"
WAIT_SECONDS = 1.0


def main() -> int:
    """Become the proxy; returns only an exit code for when that is impossible."""
    options = sys.argv[1:]
    if any(option not in ("--rejected", "--here") and not option.startswith("--records=") for option in options):
        sys.stderr.write(USAGE)
        return EXIT_USAGE
    argv = [sys.executable, "-I", "-S", _program(), *(option for option in options if option != "--here")]
    if "--here" not in options:
        while not os.path.ismount(NETNS):
            time.sleep(WAIT_SECONDS)
        argv = ["nsenter", f"--net={NETNS}", *argv]
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"<3>cannot run {argv[0]}: {error}\n")
    return EXIT_CANNOT_START


def _program() -> str:
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), "metrics", "prometheus_proxy.py")  # noqa: PTH118, PTH120 - pathlib starts slowly


if __name__ == "__main__":
    sys.exit(main())
