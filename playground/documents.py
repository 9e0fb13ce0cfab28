"""What the playground shows with `--api 2`: the same scene without a controller, built and changed by `amphoractl`."""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.document.identity import loadbalancer_id
from playground import scene
from playground.printer import Printer
from playground.scene import (
    MEMBER_IP,
    MEMBER_MAC,
    MEMBER_SUBNET,
    MTU,
    VIP,
    VIP_GATEWAY,
    VIP_MAC,
    VIP_PORT,
    VIP_SUBNET,
    VRRP_IP,
    WEB_PORT,
    WEB_SERVERS,
    Refused,
    Scene,
    Site,
)
from playground.story import answered, set_up

COMMAND = Path(sys.executable).parent / "amphoractl"
FILE = "shop.yaml"
NAME = "shop"
LB_ID = loadbalancer_id(NAME)
HELD = 20
HEALTHY_SECONDS = "30"


def document(*, weight: int = 1) -> str:
    """Return the load balancer as its operator writes it; `weight` is the last web server's."""
    members = "".join(
        f"  - {{name: {server.name}, address: {server.address}, protocol_port: {WEB_PORT}"
        f"{f', weight: {weight}' if server is WEB_SERVERS[-1] and weight != 1 else ''}}}\n"
        for server in WEB_SERVERS
    )
    return f"""name: {NAME}
vips: [{{address: {VIP}, subnet: {VIP_SUBNET}}}]
listeners:
- {{name: plain, protocol: HTTP, protocol_port: {VIP_PORT}, default_pool: web}}
pools:
- name: web
  protocol: HTTP
  lb_algorithm: ROUND_ROBIN
  healthmonitor: {{type: HTTP, delay: 1, timeout: 1, max_retries: 2, url_path: /, expected_codes: "200"}}
  members:
{members}"""


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody on the amphora who has amphoractl."""

    stage: Scene
    out: Printer

    @property
    def file(self) -> Path:
        """The document they work on."""
        return self.stage.site.directory / FILE

    def ctl(self, why: str, *words: str, ends: int = 0) -> str:
        """Run a command, print it with what it says, and return that.

        Raises:
            Refused: it ended with another exit code.
        """
        with self.out.step(why) as notes:
            notes.append(" ".join(("amphoractl", *(FILE if word == str(self.file) else word for word in words))))
            done = self.stage.amphora.run([str(COMMAND), "--socket", str(self.stage.amphora.api_socket), *words])
            notes += [f"    {line}" for line in done.stdout.splitlines()]
            if done.returncode != ends:
                raise Refused(f"amphoractl {words[0]} ended with {done.returncode}: {done.stdout.strip()}")
        return done.stdout


def tell(site: Site, out: Printer) -> None:
    """Play all acts on a claimed, empty site; the playground stands afterwards.

    Raises:
        Refused: something did not happen; the text says what.
        OSError, RuntimeError, CalledProcessError: the machine or the agent failed.
    """
    stage = set_up(site, out)
    operator = Operator(stage, out)
    plug(operator)
    both = {server.name for server in WEB_SERVERS}
    out.heading("They describe a load balancer in one document")
    write(operator, document())
    operator.ctl("Is it valid?", "validate", str(operator.file))
    operator.ctl("What would it change? (exit code 1: something)", "diff", str(operator.file), ends=1)
    operator.ctl("Apply it, and wait for health", "apply", str(operator.file), "--wait", HEALTHY_SECONDS)
    answered(stage, out, both)
    change_a_member(operator)
    drain_a_member(operator)


def plug(operator: Operator) -> None:
    """Take both NICs into the load balancer's namespace."""
    operator.out.heading("An operator on the amphora plugs the NICs that were attached to it")
    own = f"{VRRP_IP}/{VIP_SUBNET.partition('/')[2]}"
    vip = ("--address", own, "--vip", VIP, "--gateway", VIP_GATEWAY, "--mtu", str(MTU))
    operator.ctl("Plug the VIP's NIC", "plug", VIP_MAC, *vip)
    member = ("--address", f"{MEMBER_IP}/{MEMBER_SUBNET.partition('/')[2]}", "--mtu", str(MTU))
    operator.ctl("Plug the member network's NIC", "plug", MEMBER_MAC, *member)
    operator.ctl("Which interfaces are there?", "plug")


def write(operator: Operator, text: str) -> None:
    """Write the document."""
    with operator.out.step(f"Write {FILE}") as notes:
        operator.file.write_text(text)
        notes.extend(text.splitlines())


def change_a_member(operator: Operator) -> None:
    """Change a weight while connections are held open: none of them notices."""
    victim = WEB_SERVERS[-1].name
    operator.out.heading(f"{victim} gets another weight, while {HELD} connections are open")
    with held(operator.stage) as connections:
        operator.file.write_text(document(weight=3))
        operator.ctl("What would that change?", "diff", str(operator.file), ends=1)
        said = operator.ctl("Apply it", "apply", str(operator.file))
        if "no reload" not in said:
            raise Refused(f"a changed weight should need no reload: {said.strip()}")
        with operator.out.step(f"Ask over the same {HELD} connections again") as notes:
            answers = [ask(connection) for connection in connections]
            notes.append(
                f"all answer: {', '.join(f'{name} {answers.count(name)} times' for name in sorted(set(answers)))}"
            )


def drain_a_member(operator: Operator) -> None:
    """Drain a member and take it back."""
    place = f"web/{WEB_SERVERS[-1].name}"
    operator.out.heading(f"{WEB_SERVERS[-1].name} is drained for maintenance, and comes back")
    operator.ctl("Drain it", "member", "drain", place)
    answered(operator.stage, operator.out, {WEB_SERVERS[0].name})
    operator.ctl("How is everything?", "status")
    operator.ctl("Make it ready", "member", "ready", place)
    answered(operator.stage, operator.out, {server.name for server in WEB_SERVERS})
    operator.ctl("What was applied so far?", "revisions")


@contextlib.contextmanager
def held(stage: Scene) -> Iterator[list[http.client.HTTPConnection]]:
    """Open connections from the client to the VIP, each with an answer already, and close them at the end."""
    client = stage.site.namespace("client")
    with contextlib.ExitStack() as stack:
        connections: list[http.client.HTTPConnection] = []
        for _ in range(HELD):
            connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection(VIP, VIP_PORT, timeout=10)))
            connection.sock = client.connect(VIP, VIP_PORT, timeout=10)
            ask(connection)
            connections.append(connection)
        yield connections


def ask(connection: http.client.HTTPConnection) -> str:
    """Return who answers over an open connection.

    Raises:
        Refused: it was closed.
    """
    before = connection.sock
    try:
        connection.request("GET", "/")
        answer = connection.getresponse().read().decode().strip()
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"a connection that was held open broke: {error!r}") from error
    if connection.sock is not before:
        raise Refused("a connection that was held open was closed")
    return answer


def is_told(site: Site) -> bool:
    """Tell whether this is what stands at a site."""
    return (site.directory / FILE).exists()


def commands(site: Site) -> list[str]:
    """Return what to try in a playground that was kept, from the repository's directory."""
    ctl = f"{os.path.relpath(COMMAND, scene.ROOT)} --socket {site.directory}/api.sock"
    config = f"--config-file {site.directory}/etc/amphora-agent.conf"
    file = site.directory / FILE
    return [
        f"{ctl} status",
        f"{ctl} top",
        f"{ctl} edit",
        f"{ctl} diff {file}",
        f"{ctl} member drain web/{WEB_SERVERS[-1].name}",
        f"{ctl} events --follow",
        f"{ctl} get --rendered",
        f"{ctl} doctor {config}",
    ]
