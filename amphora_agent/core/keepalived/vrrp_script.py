"""The scripts keepalived runs to see whether this amphora can serve, as text. Writes and runs nothing.

Decision: the scripts follow from what is stored (every load balancer that was not stopped, every LVS listener) and are
rendered anew at each change, so none is ever left over from another state.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

NOTHING_STORED = "exit 1"


def check_script(checks: Path) -> str:
    """Return the script named in the VRRP configuration: it runs each file of `checks`, 0 means all passed.

    The contract's sum of exit codes is kept below 256, where the kernel would cut it.
    """
    return (
        "#!/bin/bash\n"
        "# keepalived runs this to see whether the amphora can serve: each check in turn, 0 when all pass.\n"
        "status=0\n"
        f"for check in {shlex.quote(str(checks))}/*; do\n"
        '    [ -f "$check" ] || continue\n'
        '    /bin/bash "$check" || status=$((status + $?))\n'
        "done\n"
        '[ "$status" -le 255 ] || status=255\n'
        'exit "$status"\n'
    )


def haproxy_check(
    command: Sequence[str], sockets: Sequence[Path], *, has_loadbalancer: bool, has_lvs: bool
) -> str | None:
    """Return the check of every HAProxy, None when there shall be none.

    Args:
        command: what to run; the sockets are appended.
        sockets: stats sockets of the load balancers whose HAProxy has to run.
        has_loadbalancer: whether any load balancer is stored, running or stopped.
        has_lvs: whether any LVS listener is stored.
    """
    if not has_loadbalancer:
        return None if has_lvs else NOTHING_STORED
    return f"{shlex.join((*command, *(str(path) for path in sockets)))}; exit $?"


def lvs_check(lvs: Path) -> str:
    """Return the check that each LVS keepalived that wrote a pid file lives; 3 is added for one that does not.

    Only parents count: the names of the children's pid files have a second dot. The name of the process is compared,
    since a pid may belong to another program by now.
    """
    return (
        "status=0\n"
        f"for file in {shlex.quote(str(lvs))}/*.pid; do\n"
        "    name=${file##*/}; name=${name%.pid}\n"
        '    case "$name" in "*"|*.*) continue ;; esac\n'
        "    pid= program=\n"
        '    { read -r pid <"$file"; read -r program <"/proc/$pid/comm"; } 2>/dev/null\n'
        '    [ "$program" = keepalived ] || status=$((status + 3))\n'
        "done\n"
        '[ "$status" -le 255 ] || status=255\n'
        'exit "$status"\n'
    )


def udp_check() -> str:
    """Return the check of one UDP member: 0 unless an ICMP error comes back within a second.

    It does what `nc -uzv -w1` does, without depending on which of its flavours is installed.

    Source: bash(1), REDIRECTION: /dev/udp/host/port; udp(7): an ICMP error is reported by the next read.
    """
    return (
        "#!/bin/bash\n"
        "# udp_check.sh ADDRESS PORT: send one byte; fail when the port is reported closed within a second.\n"
        'exec 3<>"/dev/udp/$1/$2" || exit 1\n'
        "printf X >&3 || exit 1\n"
        "read -r -n 1 -t 1 -u 3 _\n"
        "# 0: an answer; above 128: silence; anything else: an ICMP error.\n"
        "status=$?\n"
        '[ "$status" -eq 0 ] || [ "$status" -gt 128 ]\n'
    )
