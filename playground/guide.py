"""How to look around in a playground that was kept: commands, logs, heartbeats. Reads; never changes anything."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from playground import documents
from playground.controller import describe
from playground.printer import Printer
from playground.scene import AMPHORA_ADDRESS, ROOT, VIP, WEB_SERVERS, Refused, Site, listen
from testbed.amphora import AMPHORA_ID, LB_ID

LOG_LINES = 40


def look_around(site: Site, out: Printer) -> None:
    """Print the commands that show what stands; each works as it is, from the repository's directory."""
    directory = site.directory
    base, certs = directory / "octavia", directory / "etc" / "certs"
    python = _relative(Path(sys.executable))
    inside = {role: f"ip netns exec {site.namespace(role).name}" for role in ("client", "controller", "lb", "web-2")}
    victim = WEB_SERVERS[-1]
    option = "" if site == Site("playground") else f" --name {site.name}"
    lb_id = documents.LB_ID if documents.is_told(site) else LB_ID
    socket = f"{base}/{lb_id}.sock"
    guide = {
        **({"Be the operator": documents.commands(site)} if documents.is_told(site) else {}),
        "Be the client": [f"{inside['client']} curl http://{VIP}/"],
        "Be the controller": [
            f"{inside['controller']} curl --cacert {certs}/ca.pem --cert {certs}/client.pem \\",
            f"    --resolve {AMPHORA_ID}:9443:{AMPHORA_ADDRESS} https://{AMPHORA_ID}:9443/1.0/details",
        ],
        "Receive the heartbeats": [f"playground/run --heartbeats{option}"],
        f"Kill {victim.name}, start it again": [
            f"kill {site.member_pid(victim.name) or '(its pid)'}",
            f"{inside[victim.name]} {python} -m playground.member {victim.name}",
        ],
        "Ask HAProxy": [f"echo 'show stat' | socat stdio {socket} | cut -d, -f1,2,18"],
        "See its configuration": [f"cat {base}/{lb_id}/haproxy.cfg"],
        "See its network": [f"{inside['lb']} ip address", f"{inside['lb']} ip route show table all"],
        "Watch its packets": [f"{inside['lb']} tcpdump -n -i eth1"],
        "Read the logs": [f"tail -f {directory}/agent.log {base}/agent/{lb_id}/haproxy.log"],
        "End it all": [f"playground/run --end{option}"],
    }
    out.heading("It stands until you end it. To look around:")
    for what, commands in guide.items():
        out.text(f"  {what}")
        for command in commands:
            out.line(command)


def show_heartbeats(site: Site, out: Printer) -> NoReturn:
    """Print every heartbeat of a kept playground until Ctrl-C.

    Raises:
        Refused: no playground was kept, or no heartbeat comes.
    """
    if not site.is_kept():
        raise Refused("cannot receive heartbeats: no playground was kept; start one with  playground/run --keep")
    try:
        receiver = listen(site)
    except OSError as error:
        raise Refused(f"cannot receive heartbeats: {error.strerror}; is another one receiving them?") from error
    out.text("Heartbeats, as a controller receives and verifies them; Ctrl-C ends this.")
    with receiver:
        try:
            while True:
                out.line(describe(receiver.receive(timeout=30), out))
        except TimeoutError:
            raise Refused("no heartbeat within 30 s: does the agent still run?") from None


def log_tail(site: Site) -> list[str]:
    """Return the last lines of the agent's log without journald's priorities, none where there is no log."""
    try:
        lines = (site.directory / "agent.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [re.sub(r"^<\d>", "", line) for line in lines[-LOG_LINES:]]


def _relative(path: Path) -> str:
    return os.path.relpath(path, ROOT) if path.is_relative_to(ROOT) else str(path)
