"""What amphoractl costs: the CPU time of the commands that people and monitoring run again and again."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench.contestants import Contestant, our_agent

RUNS = 7
COMMAND = str(Path(sys.executable).parent / "amphoractl")
CONFIG = "/etc/octavia/amphora-agent.conf"
SHOP = {
    "name": "shop",
    "vips": [{"address": "10.10.0.100", "subnet": "10.10.0.0/24"}],
    "listeners": [{"name": "plain", "protocol": "HTTP", "protocol_port": 80, "default_pool": "web"}],
    "pools": [
        {
            "name": "web",
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            "members": [
                {"name": f"w{number}", "address": f"10.20.0.{number}", "protocol_port": 8080}
                for number in range(1, 101)
            ],
        }
    ],
}


def tool(contestant: Contestant) -> dict[str, float]:
    """CPU time of `amphoractl status` of 100 members and of `doctor`; the existing agent has no such thing."""
    if contestant.start is not our_agent:
        return {}
    with contestant.start({}, True) as amphora:
        body = json.dumps(SHOP)
        reply = amphora.ask_locally(
            "PUT", "/2.0/loadbalancers/shop", body, headers={"Content-Type": "application/json"}
        )
        assert reply.status == 200, reply

        def cost(*words: str) -> float:
            samples = []
            for _ in range(RUNS):
                before = os.times()
                amphora.run([COMMAND, "--socket", str(amphora.api_socket), *words])
                after = os.times()
                spent = after.children_user + after.children_system - before.children_user - before.children_system
                samples.append(spent)
            return min(samples)

        return {"tool status": cost("status"), "tool doctor": cost("doctor", "--config-file", CONFIG)}
