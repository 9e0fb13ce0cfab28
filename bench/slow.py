"""What downloads that nobody reads hold in the kernel of the amphora. Every loop is bounded."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from itertools import pairwise

from bench.arena import PORT, arena, configuration, member_ids
from bench.contestants import Contestant
from testbed.scenario import VIP

CONNECTIONS = 10
SECONDS = 4.0
MEGABYTE = 1_000_000
_CHUNK = bytes(64 * 1024)
_ALLOCATED = re.compile(r"skmem:\(r(\d+),rb\d+,t(\d+),tb\d+,f(\d+),w(\d+),o(\d+)")


def slow(contestant: Contestant) -> dict[str, float]:
    """Kernel memory per download whose client takes nothing: towards the client, and in all of HAProxy's sockets."""
    with arena(contestant) as place, contextlib.ExitStack() as stack:
        place.apply(configuration(place.amphora, member_ids(2)))
        clients = [stack.enter_context(place.clients.connect(VIP, PORT)) for _ in range(CONNECTIONS)]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for client in clients:
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.send(_CHUNK)
            time.sleep(0.001)
        text = place.amphora.netns.run(["ss", "-tmnH"])
    sockets = [(f"{VIP}:{PORT} " in line, memory) for line, memory in _sockets(text)]
    to_clients = sum(memory for is_to_client, memory in sockets if is_to_client)
    everything = sum(memory for _, memory in sockets)
    return {"slow sending": to_clients / CONNECTIONS / MEGABYTE, "slow all": everything / CONNECTIONS / MEGABYTE}


def _sockets(text: str) -> Iterator[tuple[str, int]]:
    """Yield the first line of each socket and the bytes the kernel has allocated for it."""
    for first, second in pairwise(text.splitlines()):
        found = _ALLOCATED.search(second)
        if found is not None:
            yield first, sum(map(int, found.groups()))
