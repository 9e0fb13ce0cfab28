"""Answers that are wrong, late, cut off or lies, and a HAProxy that dies: noticed each time, so a reload follows."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.change import Permissions, Runtime, Stored, decide
from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.plan import Plan
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.errors import HostFailure
from amphora_agent.host.haproxy.socket import query
from amphora_agent.operations.haproxy import runtime
from amphora_agent.operations.haproxy.proxy import RunningProxy
from testbed.certificates import mint
from testbed.namespaces import Namespace
from tests.system.runtime.edits import Edited
from tests.system.runtime.haproxies import Binary, RunningHaproxy, any_address_namespace, binaries

TIMEOUT = 0.5
NEWEST = binaries()[-1]


@dataclass(slots=True)
class Meddler:
    """Stands between the agent and HAProxy's socket and spoils the answer to one command, counted from 0."""

    target: Path
    path: Path
    spoilt: int
    fault: str
    seen: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Meddle for the length of the block."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen(16)
            listener.settimeout(0.02)
            thread = threading.Thread(target=self._serve, args=(listener,))
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()
                self.path.unlink()

    def _serve(self, listener: socket.socket) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                connection, _ = listener.accept()
                with connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(2.0)
        text = b""
        while chunk := connection.recv(65536):
            text += chunk
        is_spoilt = len(self.seen) == self.spoilt
        command, _, payload = text.decode().rstrip("\n").partition(" <<\n")
        self.seen.append(command)
        # A server that is said to be deleted and is not stays in maintenance until the next change finds it.
        if is_spoilt and self.fault == "lie" and not command.startswith("del server"):
            connection.sendall(_pretended(command))
            return
        answer = query(self.target, command, 5.0, f"{payload}\n" if payload else "")
        if is_spoilt:
            answer = self._spoilt(answer)
        connection.sendall(answer)

    def _spoilt(self, answer: bytes) -> bytes:
        if self.fault == "corrupt":
            return b"Internal error\n" + answer
        if self.fault == "cut":
            return answer[: len(answer) // 2] if answer.strip() else b"Unkno"
        self._stop.wait(2 * TIMEOUT)
        return b""


def _pretended(command: str) -> bytes:
    """Return what HAProxy says when it has done something; nothing was done."""
    *_, before, last = command.split()
    answers = {
        "add server": "New server registered.",
        "del server": "Server deleted.",
        "set ssl cert": f"Transaction created for certificate {last}!",
        "new ssl cert": f"New empty certificate store '{last}'!",
        "commit ssl cert": f"Committing {last}.\nSuccess!",
        "add ssl crt-list": f"Inserting certificate '{last}' in crt-list '{before}'.\nSuccess!",
        "del ssl crt-list": f"Entry '{last}' deleted in crtlist '{before}'!",
    }
    said = next((answer for start, answer in answers.items() if command.startswith(start)), "")
    return f"{said}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A running HAProxy and a plan for it that uses every kind of step."""

    haproxy: RunningHaproxy
    plan: Plan
    stored: Stored

    @property
    def commands(self) -> int:
        """How many commands the plan takes, without those that only ask."""
        return sum(len(_commands_of(self.plan, number)) for number in range(len(self.plan.steps)))


def _commands_of(plan: Plan, number: int) -> list[str]:
    from amphora_agent.core.haproxy.runtime import commands_of  # noqa: PLC0415

    return [command.text for command in commands_of(plan.steps[number], "x\n")]


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with any_address_namespace() as made:
        yield made


@contextlib.contextmanager
def prepared(namespace: Namespace, binary: Binary = NEWEST) -> Iterator[Prepared]:
    with tempfile.TemporaryDirectory(prefix="amphora-") as directory:
        Path(directory).chmod(0o755)
        edited = Edited.of_sample("04-terminated-https-sni", Path(directory), mint(8))
        edited.add(0, 0, 3)
        before = edited.store()
        with RunningHaproxy(binary, namespace, before.config) as haproxy:
            edited.add(0, 1, 7)
            edited.weigh(0, 0, 9)
            edited.disable(0, 3, 0)
            edited.remove(0, 2, 0)
            edited.renew_certificate(0, 1, 0)
            edited.add_certificate(0, 0, 0)
            edited.remove_certificate(0, 0, 0)
            after = edited.store()
            record = AppliedConfig(
                config=before.config, digests=before.digests, crt_lists=before.crt_lists, worker=haproxy.worker
            )
            decision = decide(record, after, haproxy.worker, Permissions(version=binary.version))
            assert isinstance(decision, Runtime), decision
            yield Prepared(haproxy, decision.plan, after)


def perform(done: Prepared, path: Path) -> None:
    proxy = RunningProxy(
        socket=path,
        removing=done.haproxy.directory / "removing.json",
        version=done.haproxy.binary.version,
        timeout=TIMEOUT,
    )
    runtime.perform(proxy, done.plan, done.stored)


def test_without_a_fault_all_is_well(namespace: Namespace) -> None:
    with prepared(namespace) as done:
        meddler = Meddler(done.haproxy.socket, done.haproxy.directory / "m.sock", -1, "none")
        with meddler.listening():
            perform(done, meddler.path)
        assert len({step.__class__ for step in done.plan.steps}) == 7
        assert sum(not command.startswith(("show", "del server")) for command in meddler.seen) == done.commands
        servers = {name for _, name in done.haproxy.servers_state()}
        wanted = [
            line.split()[1]
            for s in parse(done.stored.config).sections
            for line in s.lines
            if line.startswith("    server ")
        ]
        assert servers == set(wanted)


@pytest.mark.parametrize("fault", ["corrupt", "cut", "lie"])
def test_a_wrong_answer_is_noticed_whichever_command_it_is_for(namespace: Namespace, fault: str) -> None:
    with prepared(namespace) as done:
        total = done.commands
    for spoilt in range(total):
        with prepared(namespace) as done:
            meddler = Meddler(done.haproxy.socket, done.haproxy.directory / "m.sock", spoilt, fault)
            with meddler.listening(), pytest.raises(HostFailure):
                perform(done, meddler.path)
            assert len(meddler.seen) > spoilt


def test_a_late_answer_is_noticed_in_time(namespace: Namespace) -> None:
    with prepared(namespace) as done:
        meddler = Meddler(done.haproxy.socket, done.haproxy.directory / "m.sock", 2, "late")
        with meddler.listening(), pytest.raises(HostFailure, match="cannot get an answer"):
            perform(done, meddler.path)
        assert len(meddler.seen) == 3


@pytest.mark.parametrize("binary", binaries(), ids=str)
def test_a_dead_haproxy_is_noticed(namespace: Namespace, binary: Binary) -> None:
    with prepared(namespace, binary) as done:
        done.haproxy.stop()
        with pytest.raises(HostFailure):
            perform(done, done.haproxy.socket)


def test_a_server_that_came_from_elsewhere_is_noticed(namespace: Namespace) -> None:
    with prepared(namespace) as done:
        backend = next(iter(done.haproxy.servers_state()))[0]
        assert "registered" in done.haproxy.ask(f"add server {backend}/stranger 10.9.9.9:80")
        with pytest.raises(HostFailure) as raised:
            perform(done, done.haproxy.socket)
        assert "stranger" in raised.value.detail


def test_a_file_that_is_gone_or_garbled_stops_the_plan_before_it_starts(namespace: Namespace) -> None:
    for content in (None, b"", b"\xff\xfe", b"x" * 20_000):
        with prepared(namespace) as done:
            before = done.haproxy.servers_state().keys()
            step = next(step for step in done.plan.steps if hasattr(step, "file") and step.file)
            path = Path(str(step.file))
            path.unlink() if content is None else path.write_bytes(content)
            with pytest.raises(HostFailure):
                perform(done, done.haproxy.socket)
            assert done.haproxy.servers_state().keys() == before
            assert done == replace(done)
