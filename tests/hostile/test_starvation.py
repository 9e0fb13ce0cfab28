"""The agent without descriptors or memory: it refuses, lives, and works again when they are back.

Without threads - more changes than there are threads for them, and readers beside - it is in
`tests/system/test_transport.py`.
"""

from __future__ import annotations

import contextlib
import resource
import ssl
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from testbed.amphora import AGENT_ADDRESS, AGENT_PORT, AMPHORA_ID, RunningAmphora
from testbed.waiting import wait_for
from tests.hostile.amount import amount
from tests.hostile.mutations import HAPROXY_PATH
from tests.hostile.tracing import injected, is_hit
from tests.hostile.wire import STATUSES, Wire

ROUNDS = amount(10, 1000)
MEGABYTE = 1024 * 1024
# Seconds; a request that waits for memory in vain is given up, the agent has to come back all the same.
IMPATIENT = 4.0

pytestmark = pytest.mark.timeout(1800)


def _worker(amphora: RunningAmphora) -> int:
    """Return the process that serves: the parent's only child."""
    assert amphora.agent is not None
    children = Path(f"/proc/{amphora.agent.pid}/task/{amphora.agent.pid}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])


@contextlib.contextmanager
def _limited(pid: int, kind: int, soft: int) -> Iterator[None]:
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (soft, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # its parent has given it up and started another one
            resource.prlimit(pid, kind, before)


def _virtual_size(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def _try_all(amphora: RunningAmphora) -> list[int]:
    """Ask for reads and changes, large and small, and return the statuses that came; a hang-up is no status."""
    config = amphora.sample("haproxy/31-listener-without-pool.cfg")
    large = config + "# " + "x" * (4 * MEGABYTE) + "\n"
    pem = f"/1.0/loadbalancer/{AMPHORA_ID}/certificates/a.pem"
    statuses = []
    for number in range(ROUNDS):
        for method, path, body in (
            ("GET", "/1.0/details", None),
            ("GET", "/1.0/info", None),
            ("PUT", HAPROXY_PATH, large if number % 5 == 0 else config),
            ("PUT", pem, "x" * (12 * MEGABYTE if number % 5 == 1 else 10)),
            ("DELETE", pem, None),
        ):
            with contextlib.suppress(OSError):
                statuses.append(amphora.request(method, path, body, timeout=IMPATIENT).status)
    return statuses


def _works(amphora: RunningAmphora) -> bool:
    config = amphora.sample("haproxy/31-listener-without-pool.cfg")
    with contextlib.suppress(OSError):
        return (
            amphora.request("GET", "/1.0/details", timeout=10).status == 200
            and amphora.request("PUT", HAPROXY_PATH, config, timeout=20).status == 202
        )
    return False


@pytest.mark.hardening("E")
@pytest.mark.parametrize("spare", [0, 1, 3, 8])
def test_without_descriptors(spare: int) -> None:
    with RunningAmphora(heartbeats=False) as amphora:
        assert _works(amphora)
        worker = _worker(amphora)
        opened = max(int(path.name) for path in Path(f"/proc/{worker}/fd").iterdir())
        with _limited(worker, resource.RLIMIT_NOFILE, opened + 1 + spare), contextlib.ExitStack() as stack:
            for _ in range(spare):  # connections that take what is left
                with contextlib.suppress(OSError):
                    plain = amphora.client.connect(AGENT_ADDRESS, AGENT_PORT, timeout=5)
                    plain.settimeout(1)
                    with contextlib.suppress(OSError, ssl.SSLError):
                        plain = amphora.context.wrap_socket(plain, server_hostname=AMPHORA_ID)
                    stack.callback(plain.close)
            wire = Wire(amphora)
            stack.callback(wire.close)
            with contextlib.suppress(OSError):
                answer = wire.send(b"GET /1.0/details HTTP/1.1\r\nHost: a\r\n\r\n")
                assert answer is None or answer.status in STATUSES, answer
        wait_for(lambda: _works(amphora), "the agent works when there are descriptors again", seconds=60)


@pytest.mark.hardening("D28")
@pytest.mark.skipif(which("strace") is None, reason="needs strace")
def test_without_memory_to_wait_for_one_more_client() -> None:
    with RunningAmphora(heartbeats=False) as amphora:
        assert _works(amphora)
        worker = _worker(amphora)
        with injected(amphora, "epoll_ctl", "error=ENOMEM:when=1") as lines, contextlib.suppress(OSError):
            amphora.request("GET", "/", timeout=IMPATIENT)
        assert is_hit(lines)
        wait_for(lambda: _works(amphora), "the agent serves the next client", seconds=60)
        assert _worker(amphora) == worker


@pytest.mark.hardening("E")
@pytest.mark.parametrize("spare", [1, 8, 24])
def test_without_memory(spare: int) -> None:
    """`spare` is megabytes of address space beyond what the agent has."""
    with RunningAmphora(heartbeats=False) as amphora:
        assert _works(amphora)
        worker = _worker(amphora)
        with _limited(worker, resource.RLIMIT_AS, _virtual_size(worker) + spare * MEGABYTE):
            statuses = _try_all(amphora)
        assert set(statuses) <= STATUSES, statuses
        wait_for(lambda: _works(amphora), "the agent works when there is memory again", seconds=60)
