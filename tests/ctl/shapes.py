"""Answers of the agent in the shapes of the contract."""

from __future__ import annotations

LB = "11111111-2222-5333-8444-555555555555"
LIST = [{"id": LB, "name": "shop", "owner": "api2", "generation": 7, "etag": '"abc"'}]
DOCUMENT = {
    "name": "shop",
    "vips": [{"address": "10.10.0.100", "subnet": "10.10.0.0/24"}],
    "listeners": [{"name": "plain", "protocol": "HTTP", "protocol_port": 80, "default_pool": "web"}],
    "pools": [
        {
            "name": "web",
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            "members": [{"name": "w1", "address": "192.0.2.11", "protocol_port": 8080}],
        }
    ],
}
OUTCOME = {
    "id": LB,
    "name": "shop",
    "generation": 8,
    "etag": '"def"',
    "dry_run": False,
    "decision": "runtime",
    "reason": "members of web",
    "reload": False,
    "seconds": 0.031,
    "steps": [{"do": "add", "subject": "web/w3"}],
    "differences": [
        {"kind": "+", "pointer": "/pools/0/members/2", "where": "pool web, member w3", "detail": "192.0.2.13:8080"},
        {"kind": "~", "pointer": "/pools/0/members/1", "where": "pool web, member w2", "detail": "weight 5 -> 1"},
    ],
    "ignored": ["/id"],
    "diff": "--- running\n+++ rendered\n@@ -1,1 +1,2 @@\n+server w3\n",
    "revert_at": None,
}
NOTHING = {**OUTCOME, "decision": "nothing", "reason": "", "differences": [], "ignored": [], "steps": [], "diff": ""}
STATUS = {
    "id": LB,
    "name": "shop",
    "owner": "api2",
    "generation": 7,
    "observed_generation": 7,
    "conditions": [
        {"type": "Accepted", "status": True, "reason": ""},
        {"type": "Programmed", "status": True, "reason": ""},
        {"type": "Healthy", "status": False, "reason": "1 of 3 members down"},
    ],
    "operating": "DEGRADED",
    "role": "MASTER",
    "listeners": [
        {
            "name": "plain",
            "operating": "ONLINE",
            "reason": "",
            "connections": 1234,
            "total_connections": 5,
            "pools": [
                {
                    "name": "web",
                    "operating": "DEGRADED",
                    "reason": "1 of 3 members down",
                    "members": [
                        {"name": "w1", "operating": "ONLINE", "reason": "L7OK 200", "detail": "", "seconds": 95},
                        {
                            "name": "w2",
                            "operating": "ERROR",
                            "reason": "L4TOUT",
                            "detail": "timeout\x1b[31m",
                            "seconds": 7300,
                            "drained": None,
                        },
                        {
                            "name": "w3",
                            "operating": "DRAINING",
                            "reason": "draining",
                            "detail": "",
                            "seconds": 12,
                            "drained": {"by": "uid 0", "since": "2026-11-27T00:00:00Z"},
                        },
                    ],
                }
            ],
        }
    ],
    "unused_pools": ["spare"],
    "last_apply": {
        "at": "2026-11-27T00:00:00Z",
        "by": "uid 0",
        "decision": "reload",
        "reason": "frontend plain",
        "seconds": 0.2,
    },
}
HEALTHY = {
    **STATUS,
    "operating": "ONLINE",
    "conditions": [{"type": kind, "status": True, "reason": ""} for kind in ("Accepted", "Programmed", "Healthy")],
}
