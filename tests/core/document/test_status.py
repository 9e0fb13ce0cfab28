"""Operating statuses: the table of Octavia's rules, and the reasons its API never shows."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.document.identity import Identity
from amphora_agent.core.document.reading import Reading, read_tree
from amphora_agent.core.document.status import LastCheck, LoadBalancerStatus, Operating, derive, last_checks
from amphora_agent.core.heartbeat.document import Listener, Part, Pool
from amphora_agent.core.ids import LoadBalancerId
from tests.core.document.documents import Json

IDENTITY = Identity(LoadBalancerId("shop-1"))
MEMBERS = ("w1", "w2")
TREE: Json = {
    "name": "shop",
    "vips": [{"address": "10.10.0.100", "subnet": "10.10.0.0/24"}],
    "listeners": [
        {"name": "plain", "protocol": "HTTP", "protocol_port": 80, "default_pool": "web"},
        {"name": "dns", "protocol": "UDP", "protocol_port": 53, "default_pool": "dns"},
    ],
    "pools": [
        {
            "name": "web",
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            "members": [
                {"name": name, "address": f"192.0.2.{number}", "protocol_port": 80}
                for number, name in enumerate(MEMBERS, start=1)
            ],
        },
        {
            "name": "dns",
            "protocol": "UDP",
            "lb_algorithm": "ROUND_ROBIN",
            "members": [{"name": "n1", "address": "192.0.2.53", "protocol_port": 53}],
        },
        {"name": "spare", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN"},
    ],
}
BACKEND = IDENTITY.backend("web", "plain")
GOOD = Part(
    {IDENTITY.listener("plain"): Listener("OPEN"), IDENTITY.listener("dns"): Listener("OPEN")},
    {
        BACKEND: Pool("UP", {IDENTITY.member("web", name): "UP" for name in MEMBERS}),
        IDENTITY.pool("dns"): Pool("UP", {IDENTITY.member("dns", "n1"): "no check"}),
    },
)


def status(
    tree: Json = TREE, part: Part = GOOD, checks: dict[tuple[str, str], LastCheck] | None = None
) -> LoadBalancerStatus:
    reading = read_tree(tree)
    assert isinstance(reading, Reading)
    return derive(reading.document, IDENTITY, part, checks or {})


def with_pool(word: str, first: str, second: str = "UP") -> Part:
    members = {IDENTITY.member("web", "w1"): first, IDENTITY.member("web", "w2"): second}
    return Part(GOOD.listeners, {**GOOD.pools, BACKEND: Pool(word, members)})


def test_all_is_well() -> None:
    shown = status()
    assert (shown.operating, shown.unused_pools) == (Operating.ONLINE, ("spare",))
    assert [listener.operating for listener in shown.listeners] == [Operating.ONLINE] * 2
    (web,), (dns,) = (listener.pools for listener in shown.listeners)
    assert [member.operating for member in web.members] == [Operating.ONLINE] * 2
    assert [member.operating for member in dns.members] == [Operating.NO_MONITOR]


@pytest.mark.parametrize(
    ("word", "operating"),
    [
        ("UP", "ONLINE"),
        ("UP 1/3", "ONLINE"),
        ("DOWN", "ERROR"),
        ("DOWN 1/2", "ERROR"),
        ("DOWN (agent)", "ERROR"),
        ("DRAIN", "DRAINING"),
        ("DRAIN (agent)", "DRAINING"),
        ("NOLB", "DRAINING"),
        ("MAINT", "OFFLINE"),
        ("MAINT (via a/b)", "OFFLINE"),
        ("no check", "NO_MONITOR"),
        ("RESTARTING", "ONLINE"),
        ("something new", "ERROR"),
    ],
)
def test_members(word: str, operating: str) -> None:
    (pool,) = status(part=with_pool("UP", word)).listeners[0].pools
    assert pool.members[0].operating == operating
    is_down = operating == "ERROR"
    assert pool.operating == (Operating.DEGRADED if is_down else Operating.ONLINE)
    assert status(part=with_pool("UP", word)).operating == pool.operating


def test_a_pool_without_a_member_that_serves() -> None:
    shown = status(part=with_pool("DOWN", "DOWN", "MAINT"))
    (pool,) = shown.listeners[0].pools
    assert (pool.operating, pool.reason) == (Operating.ERROR, "no member can serve")
    assert shown.operating == Operating.ERROR
    assert shown.listeners[0].operating == Operating.ONLINE


@pytest.mark.parametrize(("word", "operating"), [("FULL", "DEGRADED"), ("STOP", "ERROR"), (None, "ERROR")])
def test_listeners(word: str | None, operating: str) -> None:
    listeners = {key: value for key, value in GOOD.listeners.items() if key != IDENTITY.listener("plain")}
    if word is not None:
        listeners[IDENTITY.listener("plain")] = Listener(word)
    shown = status(part=Part(listeners, GOOD.pools))
    assert shown.listeners[0].operating == operating
    assert shown.listeners[0].reason
    assert shown.operating == operating


@pytest.mark.parametrize("path", [(), ("listeners", 0), ("pools", 0, "members", 0)])
def test_what_is_disabled_is_offline_and_no_fault(path: tuple[str | int, ...]) -> None:
    tree = copy.deepcopy(TREE)
    place = tree
    for step in path:
        place = place[step]  # type: ignore[index]  # a path through JSON
    place["admin_state_up"] = False
    part = GOOD
    if path and path[0] == "listeners":
        part = Part({IDENTITY.listener("dns"): Listener("OPEN")}, GOOD.pools)
    elif path:
        part = with_pool("UP", "MAINT")
    shown = status(tree, Part() if not path else part)
    found: object = shown
    if path[:1] == ("listeners",):
        found = shown.listeners[0]
    elif path:
        found = shown.listeners[0].pools[0].members[0]
    assert getattr(found, "operating") == Operating.OFFLINE  # noqa: B009  one of three kinds
    assert shown.operating == (Operating.ONLINE if path else Operating.OFFLINE)


def test_the_reason_is_the_last_checks() -> None:
    answer = (
        "# pxname,svname,status,check_status,check_code,lastchg,last_chk,\n"
        f'{BACKEND},{IDENTITY.member("web", "w1")},DOWN,L7STS,503,17,"say ""no""\n\x1b[2J",\n'
        f"{BACKEND},{IDENTITY.member('web', 'w2')},UP,* L4OK,,4,,\n\n"
    )
    checks = dict(last_checks(answer.encode()))
    (pool,) = status(part=with_pool("UP", "DOWN"), checks=checks).listeners[0].pools
    first, second = pool.members
    assert (first.reason, first.detail, first.seconds) == ("L7STS 503", 'say "no"  [2J', 17)
    assert (second.reason, second.detail, second.seconds) == ("L4OK", "", 4)
    assert pool.reason == "1 of 2 members down"


@given(st.one_of(st.binary(), st.text(alphabet='#,"\n\0pxnamesvlchgtus_ ').map(str.encode)))
def test_no_answer_makes_it_raise(data: bytes) -> None:
    last_checks(data)
    last_checks(b"# pxname,svname,check_status,check_code,lastchg,last_chk\n" + data)
