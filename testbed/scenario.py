"""The surroundings most tests want: a client network with the VIP, a member network with two web servers.

The addresses are those of `samples/`: what the samples configure is reachable here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.amphora import LB_ID, SAMPLES, Reply, RunningAmphora
from testbed.namespaces import Namespace
from testbed.waiting import wait_for
from testbed.web_server import WebServer, get

VIP = "10.10.0.100"
VIP_MAC = "fa:16:3e:00:00:01"
MEMBER_MAC = "fa:16:3e:00:00:02"
MEMBER_PORT = 8080
LISTENER_ID = "7f699c35-164b-5869-a43d-47618ff89fe2"
MEMBER_IDS = ("7ce576a5-2976-562e-a1ba-7cf91342cf4a", "c85fb2e8-f7e8-53ec-8588-07dd536ef449")
MEMBER_ADDRESSES = ("10.20.0.11", "10.20.0.12")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """An amphora with both NICs hot-plugged, and what is at the other ends of the cables."""

    amphora: RunningAmphora
    clients: Namespace
    members: Namespace
    web_servers: tuple[WebServer, ...]

    def plug(self) -> None:
        """Plug the VIP and the member network as the samples say."""
        for name in ("plug-vip", "plug-network"):
            call = request_sample(name)
            reply = self.amphora.request("POST", f"/1.0/{call['path']}", document=call["body"])
            assert reply.status == 202, (name, reply)

    def upload(self, config: str, *, lb_id: str = LB_ID) -> Reply:
        """Upload a configuration and return the answer."""
        return self.amphora.request("PUT", f"/1.0/loadbalancer/{self.amphora.amphora_id}/{lb_id}/haproxy", config)

    def apply(self, config: str, *, lb_id: str = LB_ID) -> None:
        """Upload a configuration and reload, as the controller does for every change."""
        reply = self.upload(config, lb_id=lb_id)
        assert reply.status == 202, reply
        reply = self.amphora.request("PUT", f"/1.0/loadbalancer/{lb_id}/reload")
        assert reply.status == 202, reply

    def get(self, *, address: str = VIP, port: int = 80, timeout: float = 5.0) -> str:
        """Return who answered a request to the VIP."""
        return get(self.clients, address, port, timeout=timeout)

    def wait_for(self, answer: str, *, timeout: float = 10.0) -> None:
        """Ask the VIP until this member answers; NotInTime when it never does."""
        seen = set()

        def has_answered() -> bool:
            with contextlib.suppress(OSError):
                seen.add(self.get(timeout=1.0))
            return answer in seen

        wait_for(has_answered, lambda: f"{answer} does not answer; {sorted(seen)} did", seconds=timeout)


@contextlib.contextmanager
def scenario(amphora: RunningAmphora) -> Iterator[Scenario]:
    """Give a running amphora its NICs and web servers `web1`, `web2`; nothing is plugged yet."""
    clients = amphora.network("vip")
    members = amphora.network("mem")
    amphora.add_nic(VIP_MAC, clients, "10.10.0.1/24", "10.10.0.7/24", "2001:db8:10::1/64")
    amphora.add_nic(MEMBER_MAC, members, "10.20.0.1/24", *(f"{a}/24" for a in MEMBER_ADDRESSES))
    with contextlib.ExitStack() as stack:
        web = [
            stack.enter_context(WebServer(members, address, MEMBER_PORT, f"web{number}"))
            for number, address in enumerate(MEMBER_ADDRESSES, start=1)
        ]
        yield Scenario(amphora=amphora, clients=clients, members=members, web_servers=tuple(web))


def request_sample(name: str, samples: Path = SAMPLES) -> dict[str, object]:
    """Return `path` and `body` of a file of `requests/` in a directory of samples."""
    loaded = json.loads((samples / "requests" / f"{name}.json").read_text())
    assert isinstance(loaded, dict)
    return loaded
