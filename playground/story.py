"""What the playground shows, act by act: an amphora comes up, balances, loses a web server and gets it back."""

from __future__ import annotations

import contextlib
import time
from collections import Counter

from playground import scene
from playground.controller import PLUG_NETWORK, PLUG_VIP, Controller, describe, haproxy_config, member_status
from playground.printer import Colour, Printer, duration
from playground.scene import VIP, WEB_SERVERS, Refused, Scene, Site, WebServerPlace
from testbed.amphora import AMPHORA_ID, LB_ID
from testbed.pki import Pki

REQUESTS = 10
STATUS_SECONDS = 30.0
# A member's operating status as Octavia derives it.
CONTROLLER_SAYS = {"UP": "ONLINE", "DOWN": "ERROR"}


def tell(site: Site, out: Printer) -> None:
    """Play all acts on a claimed, empty site; the playground stands afterwards.

    Raises:
        Refused: something did not happen; the text says what.
        OSError, RuntimeError, CalledProcessError: the machine or the agent failed.
    """
    stage = set_up(site, out)
    controller = Controller(stage.amphora, out)
    configure(controller)
    out.heading("Does it work?")
    watch(stage, controller, "Heartbeats until both members are UP", "UP", *WEB_SERVERS)
    answered(stage, out, {server.name for server in WEB_SERVERS})
    victim = WEB_SERVERS[-1]
    out.heading("A web server dies, and comes back")
    with out.step(f"Kill {victim.name}") as notes:
        notes.append(f"kill -9 {stage.kill_web_server(victim)}")
    watch(stage, controller, f"Heartbeats until {victim.name} is DOWN", "DOWN", victim)
    answered(stage, out, {WEB_SERVERS[0].name})
    with out.step(f"Start {victim.name} again") as notes:
        notes.append(f"pid {stage.start_web_server(victim)}")
    watch(stage, controller, f"Heartbeats until {victim.name} is UP", "UP", victim)
    answered(stage, out, {server.name for server in WEB_SERVERS})


def set_up(site: Site, out: Printer) -> Scene:
    """Build networks and machines, and start what runs in them."""
    out.text(scene.MAP)
    with out.step("Mint a PKI") as notes:
        Pki.mint(AMPHORA_ID)
        notes.append("a CA, the agent's certificate and the controller's certificate, for mutual TLS")
    with out.step("Build the networks") as notes:
        stage = Scene.build(site)
        roles = ", ".join(role for role in scene.ROLES if role != "lb")
        notes.append(f"namespaces {site.name}-... {roles}")
        notes.append("in amphora, two NICs wait to be plugged; the agent will make the namespace lb")
    with out.step("Start two web servers") as notes:
        notes.extend(
            f"{server.name} on {server.address}: pid {stage.start_web_server(server)}" for server in WEB_SERVERS
        )
    with out.step("Start the agent") as notes:
        stage.amphora.start()
        notes.append(f"first answer over mutual TLS after {duration(stage.amphora.start_seconds)}")
    return stage


def configure(controller: Controller) -> None:
    """Make the calls a controller makes for a new load balancer, in its order."""
    out = controller.out
    out.heading(f"The controller's calls to https://{scene.AMPHORA_ADDRESS}:9443 (UUIDs are shortened)")
    controller.call("Which API is it?", "GET", "/")
    controller.call("Which HAProxy?", "GET", "/1.0/info")
    controller.call("Plug the VIP's NIC", "POST", f"/1.0/plug/vip/{VIP}", document=PLUG_VIP)
    controller.call("Plug the member network's NIC", "POST", "/1.0/plug/network", document=PLUG_NETWORK)
    config = controller.amphora.localised(haproxy_config())
    path = f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy"
    controller.call("Upload a configuration: a listener, a pool, two members", "PUT", path, body=config)
    controller.call("Reload, which here means start", "PUT", f"/1.0/loadbalancer/{LB_ID}/reload")


def watch(stage: Scene, controller: Controller, what: str, wanted: str, *servers: WebServerPlace) -> None:
    """Print heartbeats as they come until every server has the wanted status.

    Raises:
        Refused: that takes too long.
        ValueError: a heartbeat is not signed as it should be.
    """
    out = controller.out
    out.begin(what)
    stage.heartbeats.drain()
    began = time.monotonic()
    while (left := began + STATUS_SECONDS - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            heartbeat = stage.heartbeats.receive(timeout=left)
            passed = time.monotonic() - began
            out.line(f"{passed:4.1f} s  {describe(heartbeat, out)}")
            if all(member_status(heartbeat, server) == wanted for server in servers):
                names = " and ".join(server.name for server in servers)
                says = out.paint(CONTROLLER_SAYS[wanted], Colour.STRONG)
                verb = "is" if len(servers) == 1 else "are"
                out.line(f"{names} {verb} {wanted} after {passed:.1f} s; a controller now shows {says}")
                return
    raise Refused(f"no heartbeat said {wanted} within {STATUS_SECONDS:g} s")


def answered(stage: Scene, out: Printer, expected: set[str]) -> None:
    """Ask the VIP ten times and print who answered.

    Raises:
        Refused: not exactly the expected web servers did, or a request failed.
    """
    with out.step(f"The client asks the VIP {REQUESTS} times: curl http://{VIP}/") as notes:
        answers = [stage.ask_vip() or "nobody" for _ in range(REQUESTS)]
        notes.append(" ".join(out.paint(a, Colour.BAD) if a == "nobody" else a for a in answers))
        if set(answers) != expected:
            counts = ", ".join(f"{name} {count} times" for name, count in Counter(answers).items())
            raise Refused(f"{' and '.join(sorted(expected))} should answer, but it was {counts}")
