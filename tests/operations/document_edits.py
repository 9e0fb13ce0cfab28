"""Random edits of documents, as an engineer or an automation makes them.

Each is three numbers, so that any of them can follow any; what comes out may have something wrong,
and is then passed over.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Edit = tuple[int, int, int]


# What every document has besides, so that each edit finds something to change.
_POOL = {
    "name": "always",
    "protocol": "HTTP",
    "lb_algorithm": "LEAST_CONNECTIONS",
    "members": [{"name": f"m{n}", "address": f"10.6.0.{n}", "protocol_port": 8080} for n in range(1, 5)],
}
_LISTENERS = [
    {"name": "always plain", "protocol": "HTTP", "protocol_port": 61001, "default_pool": "always"},
    {
        "name": "always tls",
        "protocol": "TERMINATED_HTTPS",
        "protocol_port": 61002,
        "default_pool": "always",
        "default_tls_container_ref": "shop-rsa",
    },
]


def servable(tree: Json) -> Json:
    """Return a drawn document without what this kernel cannot serve, with few enough connections, and never empty."""
    tree = copy.deepcopy(tree)
    tree.pop("vrrp", None)
    tree["name"] = "shop"
    tree["listeners"] = [
        {**listener, "connection_limit": min(abs(listener.get("connection_limit", 1000)), 1000)}
        for listener in tree["listeners"]
        if listener["protocol"] not in {"UDP", "SCTP"}
    ]
    tree["listeners"] = [*copy.deepcopy(_LISTENERS), *tree["listeners"]]
    tree["pools"] = [copy.deepcopy(_POOL), *tree["pools"]]
    tree["admin_state_up"] = True
    return tree


def edited(tree: Json, edit: Edit) -> Json:
    """Return a document after one edit of those that can be made to it."""
    tree = copy.deepcopy(tree)
    for switched in (tree, tree["pools"][0], *tree["listeners"][:2]):
        switched["admin_state_up"] = True  # what is off for longer hides what is changed
    kind, first, second = edit
    pools = [pool for pool in tree["pools"] if pool["protocol"] not in {"UDP", "SCTP"}]
    served = [listener.get("default_pool") for listener in tree["listeners"]]
    pools = [pool for pool in pools if pool["name"] in served] or pools
    operations: list[Callable[[], None]] = []
    if pools:
        pool = pools[first // 2 % len(pools) if first % 2 else 0]
        members = pool["members"]
        operations += [lambda: _add(members, second)] * 4
        if members:
            member = members[second % len(members)]
            operations += [
                lambda: members.remove(member),
                lambda: members.remove(member),
                lambda: member.update(weight=second % 257),
                lambda: member.update(weight=second % 7),
                lambda: member.update(admin_state_up=not member.get("admin_state_up", True)),
                lambda: member.update(protocol_port=1 + second % 65535),
                lambda: member.update(address=f"10.{second % 200}.{first % 200}.7"),
                lambda: member.update(backup=not member.get("backup", False)),
                lambda: member.update(monitor_port=1 + second % 65535),
                members.reverse,
            ]
        operations.append(lambda: pool.update(admin_state_up=not pool.get("admin_state_up", True)))
    if tree["listeners"]:
        listener = tree["listeners"][first % len(tree["listeners"])]
        operations += [
            lambda: listener.update(connection_limit=1 + second % 1000),
            lambda: listener.update(admin_state_up=not listener.get("admin_state_up", True)),
            lambda: _certificates(listener),
            lambda: _certificates(listener),
        ]
    operations += [
        lambda: tree.update(description=f"change {second}"),
        lambda: tree.update(admin_state_up=not tree.get("admin_state_up", True)),
    ]
    operations[kind % len(operations)]()
    return tree


def _add(members: list[Json], number: int) -> None:
    name = f"added {number % 40}"
    if all(member["name"] != name for member in members):
        members.append({"name": name, "address": f"10.7.{number % 200}.{1 + number % 40}", "protocol_port": 8080})


def _certificates(listener: Json) -> None:
    """Serve another certificate besides, or no more."""
    if listener["protocol"] == "TERMINATED_HTTPS" and not listener.pop("sni_container_refs", None):
        listener["sni_container_refs"] = ["api"]
