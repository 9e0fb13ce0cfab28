"""haproxy-vrrp-check: does every HAProxy answer? keepalived runs it every few seconds, so it imports next to nothing.

Decision: a HAProxy that is being reloaded may be silent for a moment, and two failed checks would move the VIP. So the
agent leaves a file beside a reload, `agent/<load balancer>/reloading` below the stats socket's directory, with the
time until which silence is no failure, in seconds since boot: no stepped clock and no reboot can stretch it.

Decision: `_socket`, the C half of `socket`, because importing the other half takes longer than all that is done here.
"""

from __future__ import annotations

import sys
import time
from _socket import AF_UNIX, SHUT_WR, SOCK_STREAM, socket

DEADLINE = 4.5
QUERY = b"show info\n"
# Of the worker that serves, whatever became of its own sockets.
MASTER_QUERY = b"@1 show info\n"
SERVES = b"\nStopping: 0\n"
ANSWER_MAX = 16384
LONGEST_RELOAD = 90.0
HIGHEST_STATUS = 255


def main() -> int:
    """Return how many of the sockets given as arguments do not answer, 255 at most."""
    deadline = time.monotonic() + DEADLINE
    failures = sum(
        not (answers(path, deadline) or is_reloading(path) or master_answers(path, deadline)) for path in sys.argv[1:]
    )
    return min(failures, HIGHEST_STATUS)


def answers(path: str, deadline: float) -> bool:
    """Tell whether HAProxy says anything at its stats socket before the deadline (monotonic seconds)."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(left)
        connection.connect(path)
        connection.sendall(QUERY)
        return connection.recv(1) != b""
    except OSError:
        return False
    finally:
        connection.close()


def master_answers(path: str, deadline: float) -> bool:
    """Tell whether a worker serves that the stats socket does not lead to: after failed reloads it may lead nowhere.

    A worker that hangs took all the time there is before this is asked.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    connection = socket(AF_UNIX, SOCK_STREAM)
    answer = b""
    try:
        connection.settimeout(left)
        connection.connect(f"{_ours(path)}/master.sock")
        connection.sendall(MASTER_QUERY)
        connection.shutdown(SHUT_WR)
        while SERVES not in answer and len(answer) < ANSWER_MAX:
            chunk = connection.recv(4096)
            if not chunk:
                break
            answer += chunk
    except OSError:
        return False
    finally:
        connection.close()
    return SERVES in answer


def _ours(path: str) -> str:
    """Return the directory of our additions for the HAProxy whose stats socket has this path."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/agent/{name.removesuffix('.sock')}"


def is_reloading(path: str) -> bool:
    """Tell whether the agent is reloading the HAProxy whose stats socket has this path."""
    flag = f"{_ours(path)}/reloading"
    try:
        with open(flag, encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
            until = float(file.read(32))
    except (OSError, ValueError):
        return False
    return 0 < until - time.clock_gettime(time.CLOCK_BOOTTIME) <= LONGEST_RELOAD


if __name__ == "__main__":
    sys.exit(main())
