"""The peer of every measurement: the existing agent from PyPI, on a machine prepared as its image prepares one.

It finds its files where an image has them and calls `systemctl`, which here is a short script that starts and reloads
HAProxy by the lines of the very unit the agent wrote, with no more work than systemd's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from testbed import octavia_venv
from testbed.amphora import RunningAmphora
from testbed.existing_image import MASQUERADE

_SYSTEMCTL = """#!/bin/sh
action=$1 unit=$2 file=/usr/lib/systemd/system/$2
case $action in start|stop|reload|restart) ;; *) exit 0 ;; esac
command() { sed -n "s/^$1=//p" "$file"; }
eval "export $(command Environment)"
main() { head -n 1 "$PIDFILE" 2>/dev/null; }
case $action in
start)
    [ ! -d "/proc/$(main)/fd" ] || exit 0
    ip netns exec amphora-haproxy sh -c \\
        'ip link set lo up; sysctl -qw net.ipv4.ip_nonlocal_bind=1 net.ipv6.ip_nonlocal_bind=1'
    sh -c "$(command ExecStartPre)" || exit 1
    rm -f "$PIDFILE"
    setsid sh -c "exec $(command ExecStart)" >/dev/null 2>&1 </dev/null &
    socket=$(sed -n 's/^ *stats socket \\([^ ]*\\).*/\\1/p' "$CONFIG")
    for try in $(seq 1000); do
        [ -s "$PIDFILE" ] && [ -S "$socket" ] && exit 0
        sleep 0.01
    done
    exit 1 ;;
reload)
    MAINPID=$(main)
    [ -d "/proc/$MAINPID" ] || { echo "$unit is not active, cannot reload."; exit 1; }
    export MAINPID
    command ExecReload | while read -r line; do sh -c "$line" || exit 1; done ;;
stop)
    MAINPID=$(main)
    kill "$MAINPID" && while [ -d "/proc/$MAINPID" ]; do sleep 0.01; done ;;
esac
"""


@contextlib.contextmanager
def existing_agent(
    options: Mapping[str, Mapping[str, str]] | None = None, *, started: bool = True, topology: str = "SINGLE"
) -> Iterator[RunningAmphora]:
    """Yield a running existing agent; only one at a time, for it knows one namespace name."""
    binaries = octavia_venv.install() / "bin"
    command = (str(binaries / "amphora-agent"), "--config-file")
    amphora = RunningAmphora(command=command, options=options or {}, image=True, started=False, topology=topology)
    with amphora:
        # The unit's limit of open files, which a machine under test may not grant.
        group = amphora.base / "haproxy-default-user-group.conf"
        group.write_text(group.read_text() + "    no strict-limits\n")
        shims = amphora.directory / "bin"
        shims.mkdir()
        amphora.path = (str(shims), str(binaries))
        _write_script(shims / "systemctl", _SYSTEMCTL)
        _write_script(shims / "lvs-masquerade.sh", MASQUERADE)
        amphora.run(["cp", str(shims / "lvs-masquerade.sh"), "/usr/local/bin/"])
        if started:
            amphora.start()
        yield amphora


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
