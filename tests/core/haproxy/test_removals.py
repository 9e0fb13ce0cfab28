"""Which removed servers may be deleted where that needs care."""

from __future__ import annotations

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.removals import UNSAFE_REMOVAL_SECONDS, deletable_with_care


def test_where_deleting_needs_care_each_server_waits_its_own_time() -> None:
    config = "backend p:l\n    mode http\nbackend h2:l\n    server s 127.0.0.1:1 ssl alpn h2\n"
    now = 1000.0
    removing = {
        # The last one is of another boot.
        "p:l": {"old": now - UNSAFE_REMOVAL_SECONDS, "young": now - UNSAFE_REMOVAL_SECONDS + 1, "strange": now + 5},
        "h2:l": {"any": 0.0},
        "gone:l": {"any": 0.0},
    }
    assert deletable_with_care(removing, parse(config), now) == {
        "p:l": {"old": now - UNSAFE_REMOVAL_SECONDS, "strange": now + 5}
    }
