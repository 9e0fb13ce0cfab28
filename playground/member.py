"""One web server of the playground, a process of its own so that it can be killed: `python -m playground.member NAME`.

Runs in whatever network namespace it was started in, until a signal ends it.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path

from playground.scene import WEB_PORT, WEB_SERVERS
from testbed.namespaces import Namespace
from testbed.web_server import WebServer

HERE = Namespace("net", Path("/proc/self/ns"))


def main() -> int:
    """Serve until a signal ends the process; return the exit code of wrong usage."""
    names = [server.name for server in WEB_SERVERS]
    if len(sys.argv) != 2 or sys.argv[1] not in names:
        sys.stderr.write(f"usage: python -m playground.member {'|'.join(names)}\n")
        return 2
    server = WEB_SERVERS[names.index(sys.argv[1])]
    with WebServer(HERE, server.address, WEB_PORT, server.name), contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
