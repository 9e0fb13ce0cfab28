"""Every change, cut short at some system call, or refused one by the kernel: afterwards it is as before or as asked.

After a cut the agent starts again, and what is stored is whole: the old or the new. After a refusal the answer is of
the contract and the agent lives. After both, reads are answered and the same request succeeds.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Collection, Iterator, Sequence
from shutil import which

import pytest

from testbed.amphora import RunningAmphora
from testbed.scenario import Scenario, scenario
from testbed.waiting import wait_for
from tests.hostile.amount import amount, dice
from tests.hostile.document_mutations import DOCUMENT_MUTATIONS
from tests.hostile.mutations import MUTATIONS, Mutation
from tests.hostile.tracing import injected, is_hit, most_calls, traced

pytestmark = [
    pytest.mark.skipif(which("strace") is None, reason="needs strace"),
    pytest.mark.timeout(7200),
]

ALL = (*MUTATIONS, *DOCUMENT_MUTATIONS)
CUTS = amount(4, 40)
REFUSALS = amount(2, 12)
READS = ("/", "/1.0/info", "/1.0/details", "/1.0/listeners")
# Those that change what outlives the agent, or ask others for it.
CUT_CALLS = (
    *(
        "openat",
        "write",
        "fsync",
        "rename",
        "unlink",
        "unlinkat",
        "connect",
        "sendto",
        "close",
        "mkdir",
        "fchmod",
        "rmdir",
    ),
    *("chmod", "kill", "vfork"),
)
REFUSED_CALLS = {
    "ENOSPC": ("write", "openat", "fsync", "mkdir", "rename"),
    "EIO": ("fsync", "write", "rename", "read", "unlink", "unlinkat", "rmdir"),
    "ENOMEM": ("openat", "socket", "mkdir", "vfork", "unlink"),
    "EMFILE": ("openat", "socket", "pipe2"),
}


@pytest.fixture(scope="module")
def plugged() -> Iterator[Scenario]:
    with RunningAmphora(heartbeats=False) as running, scenario(running) as surroundings:
        surroundings.plug()
        yield surroundings


def _warm_up(amphora: RunningAmphora) -> None:
    """Have the threads begin that will serve: strace holds only those that are there."""
    assert amphora.request("GET", "/1.0/details").status == 200
    assert amphora.request("GET", "/2.0/health").status == 200
    assert amphora.request("PUT", "/1.0/loadbalancer/x/nothing").status == 400
    assert amphora.request("POST", "/1.0/plug/network", document={}).status == 400


def _answers(amphora: RunningAmphora) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return amphora.request("GET", "/1.0/details", timeout=5).status == 200
    return False


def _check(plugged: Scenario, mutation: Mutation, before: object) -> None:
    """Check that all is as it was or as it was asked for, and that asking again does it."""
    for path in READS:
        reply = plugged.amphora.request("GET", path)
        assert reply.status == 200, (path, reply)
    found = mutation.stored(plugged)
    again = mutation.request(plugged)
    assert again.status in mutation.done, again
    assert found in (before, mutation.stored(plugged)), "neither the old nor the new"
    leftovers = [path for path in plugged.amphora.directory.rglob("*.agent-tmp") if path.is_file()]
    assert not leftovers


def _calls_of(plugged: Scenario, mutation: Mutation, calls: Collection[str]) -> Sequence[tuple[str, int]]:
    """Do the change with nothing in its way, and return which of the calls it made, and how many of each."""
    mutation.prepare(plugged)
    _warm_up(plugged.amphora)
    with traced(plugged.amphora, calls) as lines:
        assert mutation.request(plugged).status in mutation.done
    made = sorted(most_calls(lines).items())
    assert made, "the change makes none of these calls"
    return made


@pytest.mark.hardening("E")
@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_a_change_that_is_cut_short(plugged: Scenario, mutation: Mutation) -> None:
    amphora, numbers = plugged.amphora, dice("cuts", mutation.name)
    said, cuts = len(amphora.log), 0
    made = _calls_of(plugged, mutation, CUT_CALLS)
    for number in range(CUTS):
        call, most = numbers.choice(made)
        when = numbers.randint(1, most) if number else 1  # the first one is sure to hit
        mutation.prepare(plugged)
        _warm_up(amphora)
        before = mutation.stored(plugged)
        with (
            injected(amphora, call, f"signal=KILL:when={when}") as lines,
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            mutation.request(plugged)
        cuts += is_hit(lines)
        amphora.kill()
        amphora.start()
        try:
            _check(plugged, mutation, before)
        except AssertionError as error:
            raise AssertionError(f"{mutation.name}, cut at {call} {when}: {error}") from error
    assert cuts, f"none was cut short: {made}"
    assert "Traceback" not in amphora.log[said:]


@pytest.mark.hardening("C13")
@pytest.mark.parametrize("errno", REFUSED_CALLS)
@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_a_change_that_the_kernel_refuses(plugged: Scenario, mutation: Mutation, errno: str) -> None:
    amphora, numbers = plugged.amphora, dice("refusals", mutation.name, errno)
    refused = 0
    made = _calls_of(plugged, mutation, REFUSED_CALLS[errno])
    for number in range(REFUSALS):
        call, most = numbers.choice(made)
        when = f"{numbers.randint(1, most)}{numbers.choice(('', '', '+'))}" if number else "1+"  # sure to hit
        mutation.prepare(plugged)
        _warm_up(amphora)
        before, said = mutation.stored(plugged), len(amphora.log)
        try:
            with (
                injected(amphora, call, f"error={errno}:when={when}") as lines,
                contextlib.suppress(OSError, http.client.HTTPException),
            ):
                reply = mutation.request(plugged)
                assert reply.status in {*mutation.done, 500, 503}, reply
                assert b"see the agent's log" not in reply.body, reply
            refused += is_hit(lines)
            wait_for(lambda: _answers(amphora), "the agent answers", seconds=60)
            _check(plugged, mutation, before)
        except AssertionError as error:
            text = amphora.log[said:][-3000:]
            raise AssertionError(f"{mutation.name}, {errno} at {call} {when}: {error}\n{text}") from error
    assert refused, f"nothing was refused: {made}"
