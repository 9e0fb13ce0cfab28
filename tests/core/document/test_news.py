"""What is new between two looks: members, the role, the end of a certificate."""

from __future__ import annotations

import pytest

from amphora_agent.core.document.news import SOON_SECONDS, Sight, certificate_news, member_news, role_news, sight
from amphora_agent.core.document.status import (
    ListenerStatus,
    LoadBalancerStatus,
    MemberStatus,
    Operating,
    PoolStatus,
    Role,
)

ONLINE, ERROR, DRAINING = Operating.ONLINE, Operating.ERROR, Operating.DRAINING
NOW = 1_800_000_000.0


def seen(*listeners: dict[str, Operating], role: Role | None = None) -> Sight:
    """Return a look at listeners before one pool; its members with their statuses, and reasons of those in error."""
    found = tuple(
        ListenerStatus(
            name=str(number),
            operating=ONLINE,
            reason="",
            pools=(
                PoolStatus(
                    name="web",
                    operating=ONLINE,
                    reason="",
                    members=tuple(
                        MemberStatus(name=name, operating=operating, reason="L4TOUT" if operating is ERROR else "")
                        for name, operating in members.items()
                    ),
                ),
            ),
        )
        for number, members in enumerate(listeners)
    )
    return sight(LoadBalancerStatus(name="shop", operating=ONLINE, listeners=found, unused_pools=()), role)


def test_a_member_that_changes_is_told_with_the_reason() -> None:
    before, now = seen({"w1": ONLINE, "w2": ONLINE}), seen({"w1": ERROR, "w2": ONLINE})
    assert list(member_news(before, now)) == [("web/w1", "ONLINE -> ERROR L4TOUT")]
    assert list(member_news(now, before)) == [("web/w1", "ERROR -> ONLINE")]
    assert list(member_news(now, now)) == []


def test_new_and_gone_members_are_no_news() -> None:
    assert list(member_news(seen({"w1": ONLINE}), seen({"w2": ERROR}))) == []


def test_of_a_member_behind_several_listeners_the_worst_counts() -> None:
    before, now = seen({"w1": ONLINE}, {"w1": DRAINING}), seen({"w1": ONLINE}, {"w1": ERROR})
    assert list(member_news(before, now)) == [("web/w1", "DRAINING -> ERROR L4TOUT")]
    assert list(member_news(now, seen({"w1": ERROR}, {"w1": ONLINE}))) == []


def test_a_role_is_told_when_it_is_another() -> None:
    backup, master, alone = (seen(role=role) for role in (Role.BACKUP, Role.MASTER, None))
    assert role_news(backup, master) == "BACKUP -> MASTER"
    assert role_news(master, master) == role_news(alone, master) == role_news(master, alone) == ""


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (SOON_SECONDS + 1, ""),
        (SOON_SECONDS, "ends 2027-01-29T08:00:00Z, in 14 days"),
        (3600, "ends 2027-01-15T09:00:00Z, in 0 days"),
        (-3600, "ended 2027-01-15T07:00:00Z"),
    ],
)
def test_the_end_of_a_certificate(left: int, words: str) -> None:
    assert certificate_news(int(NOW) + left, NOW) == words
