"""As many requests as may wait for news, all of them waiting."""

from __future__ import annotations

import http.client
import select
from collections.abc import Callable, Mapping

from testbed.waiting import wait_for


def fill(waiting: Mapping[http.client.HTTPConnection, str], probe: Callable[[], int]) -> None:
    """Have every place taken by these connections.

    Args:
        waiting: connection -> the path it asks for, which waits.
        probe: asks with a short wait and returns the status; what it refused by having a place itself asks again.
    """
    for connection, path in waiting.items():
        connection.request("GET", path)

    def are_all_there() -> bool:
        is_full = probe() == 503
        answered, _, _ = select.select([connection.sock for connection in waiting], [], [], 0)
        for connection, path in waiting.items():
            if connection.sock in answered:
                response = connection.getresponse()
                assert (response.status, response.read()[:1]) == (503, b"{")
                connection.request("GET", path)
        return is_full and not answered

    wait_for(are_all_there, "all of them wait")
