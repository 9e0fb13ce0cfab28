"""When a configuration is cut down to its changes, and to what. That the verdict is the same, real HAProxies say."""

from __future__ import annotations

import pytest

from amphora_agent.core.haproxy.config import Config, parse, render
from amphora_agent.core.haproxy.reduction import is_reducible, reduce

TOP = "global\n    maxconn 10\nfrontend f\n    bind 10.0.0.1:80\n"
FIRST = "backend one\n    balance roundrobin\n"
SECOND = "backend two\n    mode tcp\n"
A, B, C = (f"    server {name} 10.0.0.{at}:80 weight 1\n" for at, name in enumerate("abc", 1))


def reduced(before: str, after: str) -> str | None:
    accepted = parse(before)
    assert is_reducible(accepted)
    found = reduce(accepted, parse(after))
    return None if found is None else render(found)


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        (FIRST + A + B + C, FIRST + C),
        (FIRST + C + A + B, FIRST + C),
        (FIRST + A, FIRST),
        (FIRST + B + A, FIRST),
        (FIRST + A + B.replace("weight 1", "weight 2"), FIRST + B.replace("weight 1", "weight 2")),
        (FIRST, FIRST),
    ],
    ids=["added", "first", "removed", "moved", "changed", "all removed"],
)
def test_what_is_left_are_the_changed_servers(after: str, wanted: str) -> None:
    assert reduced(TOP + FIRST + A + B + SECOND + C, TOP + after + SECOND + C) == TOP + wanted + SECOND


def test_a_server_counts_as_changed_when_other_lines_precede_it_now() -> None:
    default = "    default-server ssl verify none\n"
    assert reduced(TOP + FIRST + A + default + B, TOP + FIRST + default + A + B) == TOP + FIRST + default + A


@pytest.mark.parametrize(
    "after",
    [
        TOP.replace("10", "20") + FIRST + A + B,
        TOP + FIRST.replace("roundrobin", "first") + A + B,
        TOP + FIRST.replace("one", "other") + A + B,
        TOP + FIRST + A + B + SECOND,
        "# remark\n" + TOP + FIRST + A + B,
        TOP + FIRST + A + B + C.replace(" c ", " a "),
        TOP + FIRST + A + B + A,
        TOP + FIRST + A + A + B,
        TOP + FIRST + A + B + C.replace("weight 1", "cookie x"),
        TOP + FIRST + A + B + C.replace("weight 1", "track a"),
        TOP + FIRST + A + B + C.replace("weight 1", "id 7"),
        TOP + FIRST + A + B + C.replace("weight 1", "weight 257"),
        TOP + FIRST + A + B + C.replace("weight 1", "'check'"),
        TOP + FIRST + A + B + C.replace("    server ", "    server\t"),
    ],
)
def test_everything_else_is_checked_as_a_whole(after: str) -> None:
    persistent = B.replace("weight 1", "cookie x")
    assert reduced(TOP + FIRST + A + persistent, after.replace(B, persistent)) is None


@pytest.mark.parametrize("word", ["track one/a", "id 7", "guid x", '"check"', "# remark", "unheard-of", "check check2"])
def test_servers_that_say_more_than_members_forbid_it(word: str) -> None:
    assert not is_reducible(parse(TOP + FIRST + A.replace("weight 1", word)))


def test_warnings_that_count_as_errors_forbid_it() -> None:
    assert not is_reducible(parse(TOP.replace("maxconn 10", "zero-warning") + FIRST + A))


def test_nothing_is_a_configuration_too() -> None:
    assert reduce(Config((), ()), Config((), ())) == Config((), ())
