"""Every document without a problem is one that HAProxy and keepalived accept: each HAProxy that this machine has.

`AMPHORA_DOCUMENTS` is how many random ones are tried with each, 300 by default.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from amphora_agent.core.document.checks import check
from amphora_agent.core.document.place import Place
from amphora_agent.core.document.reading import Reading, read_tree
from amphora_agent.core.document.render import Rendered, render
from amphora_agent.core.haproxy.config import render as text_of
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.paths import Paths, paths_of
from amphora_agent.core.settings import Settings
from testbed.namespaces import Namespace
from testbed.pki import Pki
from tests.core.document.documents import SECRETS, Json, documents
from tests.system.runtime.haproxies import Binary, binaries

LB = LoadBalancerId("shop-1")
KNOWN_REMARKS = ("script", "does not support authentication", "has no real servers")
COUNT = int(os.environ.get("AMPHORA_DOCUMENTS", "300"))


@dataclass(frozen=True, slots=True)
class Haproxy:
    """One HAProxy, and a folder of ours for what configurations name."""

    binary: Binary
    paths: Paths
    secrets: dict[str, bytes] = field(repr=False)

    def verdict(self, rendered: Rendered) -> str:
        """Return why it refuses a configuration, empty when it accepts it."""
        assert rendered.haproxy is not None
        for path, name in rendered.secret_files.items():
            Path(path).write_bytes(self.secrets[name])
        for path, text in rendered.crt_lists.items():
            Path(path).write_text(text)
        config = self.paths.base / "haproxy.cfg"
        config.write_text(text_of(rendered.haproxy))
        argv = [*self.binary.argv, "-c", "-f", str(config), "-L", rendered.local_peer]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        return "" if done.returncode == 0 else done.stderr


@pytest.fixture(scope="module", params=binaries(), ids=str)
def haproxy(request: pytest.FixtureRequest) -> Iterator[Haproxy]:
    """Each HAProxy at hand; the folder's name is short, for the sockets in it."""
    base = Path(tempfile.mkdtemp(prefix="doc", dir="/tmp"))
    try:
        paths = replace(paths_of(Settings()), base=base, certs=base / "certs")
        paths.loadbalancer(LB).certs.mkdir(parents=True)
        pki = Pki.mint("shop")
        secrets = {
            "shop-rsa": pki.issue("shop.example.org"),
            "api": pki.issue("api.example.org"),
            "partners": pki.ca,
            "revoked": pki.crl(),
        }
        yield Haproxy(request.param, paths, secrets)
    finally:
        shutil.rmtree(base)


@given(tree=documents())
@settings(
    max_examples=COUNT,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # HAProxy's message says enough, and shrinking takes minutes
)
@pytest.mark.timeout(3600)
def test_what_has_no_problem_is_accepted(haproxy: Haproxy, tree: Json) -> None:
    reading = read_tree(tree)
    assert isinstance(reading, Reading), reading
    assert check(reading.document, SECRETS) == ()
    rendered = render(reading.document, Place(LB, haproxy.paths), {"pair": "s3cr3t7"})
    if rendered.haproxy is not None:
        assert haproxy.verdict(rendered) == "", text_of(rendered.haproxy)


@pytest.fixture(scope="module")
def namespace_with_eth1() -> Iterator[Namespace]:
    """A place with the interface of the pair, for which keepalived looks."""
    namespace = Namespace.create("doc")
    try:
        namespace.ip("link add eth1 type veth peer name other")
        yield namespace
    finally:
        namespace.close()


@pytest.mark.timeout(3600)
@pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed")
@given(tree=documents())
@settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_keepalived_accepts_what_has_no_problem(namespace_with_eth1: Namespace, tree: Json) -> None:
    """`keepalived -t` says nothing against a file that it takes as it is."""
    reading = read_tree(tree)
    assert isinstance(reading, Reading), reading
    rendered = render(reading.document, Place(LB, paths_of(Settings())), {"pair": "s3cr3t7"})
    for text in (*rendered.lvs.values(), *([rendered.vrrp] if rendered.vrrp is not None else [])):
        assert _keepalived_verdict(namespace_with_eth1, text) == []


def _keepalived_verdict(namespace: Namespace, text: str) -> list[str]:
    """Return what keepalived says against a configuration.

    Left out: the scripts that are not on this machine, and what it says of the controller's own files too: IPv6 has no
    passwords, and a service without servers is none.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text)
        file.flush()
        argv = ["nsenter", f"--net={namespace.path}", "keepalived", "-t", "-l", "-n", "-f", file.name]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).split("\n")
    return [line for line in said if line and not any(known in line.lower() for known in KNOWN_REMARKS)]
