"""The heart of the runtime changes: what HAProxy runs after edits equals what a fresh HAProxy makes of the new files.

Each example takes one of the controller's samples, edits it again and again, lets the agent decide and perform after
every few edits, and compares at the end: servers, statistics, certificates, and what a TLS client is shown.

    RUNTIME_EXAMPLES   examples for each HAProxy version
    RUNTIME_SHRINK     set: look for the smallest failure
"""

from __future__ import annotations

import functools
import os
import re
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from amphora_agent.core.haproxy.change import (
    Nothing,
    Permissions,
    Reload,
    Runtime,
    Start,
    Stored,
    decide,
)
from amphora_agent.core.haproxy.config import Bind, frontends, parse
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.errors import HostFailure
from amphora_agent.operations.haproxy import removals, runtime
from amphora_agent.operations.haproxy.proxy import RunningProxy
from testbed.certificates import Minted, mint
from testbed.namespaces import Namespace
from testbed.waiting import wait_for
from tests.system.runtime.edits import SAMPLES, Edited
from tests.system.runtime.haproxies import Binary, RunningHaproxy, any_address_namespace, binaries

EXAMPLES = int(os.environ.get("RUNTIME_EXAMPLES", "160"))
EDITS = 12
# Each attempt to find a smaller failure starts several processes: minutes, in which CI would learn nothing new.
PHASES = (Phase.generate, Phase.shrink) if "RUNTIME_SHRINK" in os.environ else (Phase.generate,)
TALLY: Counter[str] = Counter()
HEALTH_COLUMNS = ("check_status", "check_health")
TLS_NAMES = ["04-terminated-https-sni", "20-client-auth-ca-crl", "21-backend-reencryption", "26-cpu-pinning-ssl-cache"]
# What can be changed in most ways stands there more often.
NAMES = [path.stem for path in sorted(SAMPLES.glob("*.cfg"))] + TLS_NAMES * 4 + ["12-backup-disabled-members"] * 4

edits = st.tuples(st.integers(0, 1000), st.integers(0, 7), st.integers(0, 1000), st.integers(0, 100_000))
changes = st.lists(st.lists(edits, min_size=1, max_size=3), min_size=EDITS // 2, max_size=EDITS)


@dataclass(slots=True)
class Followed:
    """A running HAProxy that is made to follow edits as the agent would.

    `member_files` are all that servers were configured with: they stay loaded, unused, when the last such server goes.
    """

    haproxy: RunningHaproxy
    applied: AppliedConfig
    removing: Path
    reasons: list[str] = field(default_factory=list)
    member_files: set[str] = field(default_factory=set)

    @staticmethod
    def start(haproxy: RunningHaproxy, stored: Stored) -> Followed:
        """Take over a process that was just started with the stored files."""
        removing = haproxy.directory / "removing.json"
        return Followed(haproxy, _record(haproxy, stored), removing, member_files=_member_files(stored))

    def follow(self, stored: Stored) -> None:
        """Decide and do what the decision says."""
        self.member_files |= _member_files(stored)
        permissions = Permissions(version=self.haproxy.binary.version)
        decision = decide(self.applied, stored, self.haproxy.worker, permissions)
        self.reasons.append(f"{type(decision).__name__}: {decision.reason}")
        TALLY[type(decision).__name__] += 1
        match decision:
            case Nothing():
                return
            case Runtime(plan):
                TALLY.update(type(step).__name__ for step in plan.steps)
                proxy = RunningProxy(
                    socket=self.haproxy.socket, removing=self.removing, version=self.haproxy.binary.version
                )
                try:
                    runtime.perform(proxy, plan, stored)
                except HostFailure as error:
                    # The same member is wanted again while an old HAProxy may not delete it yet.
                    assert error.detail.endswith("is still being removed"), (error.detail, self.reasons)
                    TALLY["still being removed"] += 1
                    self.restart(stored)
                    return
                self.applied = AppliedConfig(
                    config=stored.config,
                    digests=stored.digests,
                    crt_lists=stored.crt_lists,
                    worker=self.haproxy.worker,
                    aliases=plan.aliases,
                    commits=plan.commits,
                )
            case Start() | Reload():
                TALLY[decision.reason.split(": ")[-1].split(" is not loaded")[-1]] += 1
                self.restart(stored)

    def restart(self, stored: Stored) -> None:
        """Do what a reload does to the process, without a master."""
        self.haproxy.start(stored.config)
        self.removing.unlink(missing_ok=True)
        self.applied = _record(self.haproxy, stored)


def _member_files(stored: Stored) -> set[str]:
    lines = (line for line in stored.config.splitlines() if line.split()[:1] == ["server"])
    return {file for line in lines for file in re.findall(r" (?:crt|ca-file|crl-file) (\S+)", line)}


def _record(haproxy: RunningHaproxy, stored: Stored) -> AppliedConfig:
    return AppliedConfig(
        config=stored.config, digests=stored.digests, crt_lists=stored.crt_lists, worker=haproxy.worker
    )


@pytest.fixture(scope="module")
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    with any_address_namespace() as one, any_address_namespace() as other:
        yield one, other


@pytest.fixture(scope="module")
def minted() -> Minted:
    return mint()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("binary", binaries(), ids=str)
def test_what_runs_equals_a_fresh_start(
    binary: Binary, namespaces: tuple[Namespace, Namespace], minted: Minted
) -> None:
    TALLY.clear()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=PHASES,
    )
    @given(name=st.sampled_from(NAMES), steps=changes)
    def follow_edits(name: str, steps: list[list[tuple[int, int, int, int]]]) -> None:
        with tempfile.TemporaryDirectory(prefix="amphora-") as directory:
            Path(directory).chmod(0o755)
            edited = Edited.of_sample(name, Path(directory), minted)
            with RunningHaproxy(binary, namespaces[0], edited.store().config) as running:
                followed = Followed.start(running, edited.store())
                for step in steps:
                    for edit in step:
                        TALLY["edits"] += edited.apply(edit)
                    followed.follow(edited.store())
                with RunningHaproxy(binary, namespaces[1], edited.store().config) as fresh:
                    assert_equal(followed, fresh)

    started = time.monotonic()
    follow_edits()
    print(f"\n{binary}: {time.monotonic() - started:.0f} s, {dict(TALLY.most_common())}")  # noqa: T201
    assert TALLY["edits"] >= EXAMPLES * 9, TALLY
    assert TALLY["Runtime"] > TALLY["Reload"] / 4, TALLY


def assert_equal(followed: Followed, fresh: RunningHaproxy) -> None:
    """Compare everything HAProxy tells about what it runs."""
    running, story = followed.haproxy, followed.reasons
    assert running.exit_code is None, story
    waiting = {(backend, name) for backend, names in removals.read(followed.removing).items() for name in names}
    states = {key: row for key, row in running.servers_state().items() if key not in waiting}
    fresh_states = fresh.servers_state()
    wrong = differences(
        {key: server_facts(row) for key, row in states.items()},
        {key: server_facts(row) for key, row in fresh_states.items()},
    )
    assert not wrong, "\n".join([*wrong, *story])
    checked = {key[0] for key, row in fresh_states.items() if int(row["srv_check_state"]) & 2}
    stats = {key: row for key, row in running.stats().items() if key not in waiting}
    wrong = differences(
        {key: stat_facts(row, checked) for key, row in stats.items()},
        {key: stat_facts(row, checked) for key, row in fresh.stats().items()},
    )
    assert not wrong, "\n".join([*wrong, *story])
    loaded, fresh_loaded = certificates(running, followed.applied.aliases), certificates(fresh, {})
    left_over = followed.member_files - followed.applied.digests.keys()
    loaded = {name: text for name, text in loaded.items() if name.partition(" ")[2] not in left_over}
    wrong = [
        f"{name}: {loaded.get(name)!r}, fresh {fresh_loaded.get(name)!r}"
        for name in loaded.keys() | fresh_loaded.keys()
        if loaded.get(name) != fresh_loaded.get(name)
    ]
    assert not wrong, "\n".join([*wrong, *story])
    assert_same_handshakes(followed, fresh)


def differences(
    running: Mapping[tuple[str, str], Mapping[str, str | int]], fresh: Mapping[tuple[str, str], Mapping[str, str | int]]
) -> list[str]:
    """Return what differs, in words."""
    found = [f"{key} only in one of them" for key in running.keys() ^ fresh.keys()]
    for key in running.keys() & fresh.keys():
        found += [
            f"{key} {name}: {running[key][name]!r}, fresh {fresh[key].get(name)!r}"
            for name in running[key]
            if running[key][name] != fresh[key].get(name)
        ]
    return found


def server_facts(row: Mapping[str, str]) -> dict[str, str | int]:
    """Return what a server's state says of the configuration; health is a matter of time."""
    names = ("srv_addr", "srv_port", "srv_uweight", "srv_use_ssl", "srv_check_port", "srv_check_addr", "srv_fqdn")
    facts: dict[str, str | int] = {name: row[name] for name in names}
    # FMAINT, IMAINT, FDRAIN; "disabled in the file" (CMAINT) is a remark without effect. CONFIGURED, ENABLED.
    return {**facts, "admin": int(row["srv_admin_state"]) & 0x0B, "check": int(row["srv_check_state"]) & 6}


def stat_facts(row: Mapping[str, str], checked: set[str]) -> dict[str, str | int]:
    """Return what the statistics say of the configuration."""
    names = ["type", "mode", "algo", "cookie", "addr", "slim", "qlimit", "check_rise", "check_fall", "src_ilim"]
    status = row["status"].split()[0]
    facts: dict[str, str | int] = {name: row[name] for name in names}
    facts["status"] = "checked" if row["pxname"] in checked and status in {"UP", "DOWN"} else status
    if row["svname"] != "BACKEND":
        facts |= {name: row[name] for name in ("act", "bck")}
        facts["uweight"] = row["uweight"]
    elif row["pxname"] not in checked:
        facts |= {name: row[name] for name in ("act", "bck", "weight", "uweight")}
    return facts


def certificates(haproxy: RunningHaproxy, aliases: Mapping[str, str]) -> dict[str, str]:
    """Return everything loaded for TLS, by the file's own name."""
    names = {loaded: path for path, loaded in aliases.items()}
    found = {}
    for kind in ("cert", "crl-file", "ca-file"):
        for line in haproxy.ask(f"show ssl {kind}").splitlines():
            loaded = line.split(" - ")[0]
            if loaded.startswith("/"):
                answer = haproxy.ask(f"show ssl {kind} {loaded}").splitlines()
                found[f"{kind} {names.get(loaded, loaded)}"] = "\n".join(
                    line for line in answer if not _says_nothing_of_the_content(line)
                )
    for line in haproxy.ask("show ssl crt-list").splitlines():
        if line.startswith("/"):
            entries = [entry for entry in haproxy.ask(f"show ssl crt-list {line}").splitlines() if entry[:1] == "/"]
            found[f"crt-list {line}"] = "\n".join(names.get(entry, entry) for entry in entries)
    return found


def _says_nothing_of_the_content(line: str) -> bool:
    """Tell whether a line of `show ssl cert` names a file, as 3.2 does for the key and the chain too, or a status.

    HAProxy calls certificates unused once the CA or CRL beside them was replaced; it serves them on.
    """
    name = line.partition(":")[0].lower()
    return name == "status" or name.endswith("filename")


def assert_same_handshakes(followed: Followed, fresh: RunningHaproxy) -> None:
    """Connect to each TLS listener by each name; a commit needs a moment to reach every thread."""
    for frontend in frontends(parse(fresh.config)):
        if not frontend.is_terminated_https:
            continue
        bind = frontend.binds[0]
        for name in ("0.test", "7.test", "13.test", "unknown.test"):
            wanted = shown(fresh.namespace, bind.address, int(bind.port), name)
            wait_for(
                functools.partial(_shows, followed.haproxy.namespace, bind, name, wanted),
                lambda: f"{name}: {followed.reasons}",  # noqa: B023 - called before the next turn
                seconds=1.0,
            )


def _shows(namespace: Namespace, bind: Bind, name: str, wanted: bytes | None) -> bool:
    return shown(namespace, bind.address, int(bind.port), name) == wanted


def shown(namespace: Namespace, host: str, port: int, name: str) -> bytes | None:
    """Return the certificate a client is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with namespace.connect(host, port) as plain, context.wrap_socket(plain, server_hostname=name) as connection:
        return connection.getpeercert(binary_form=True)
