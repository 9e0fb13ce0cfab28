"""Every document without a problem is one that HAProxy accepts: 2.6 of this machine, and 3.0 of a Debian 13 tree.

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
from testbed.pki import Pki
from tests.container.debian import CannotBuild, reason_against, write_wrapper
from tests.core.document.documents import SECRETS, Json, documents

LB = LoadBalancerId("shop-1")
COUNT = int(os.environ.get("AMPHORA_DOCUMENTS", "300"))


@dataclass(frozen=True, slots=True)
class Haproxy:
    """One HAProxy, and a folder of ours for what configurations name."""

    command: str
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
        argv = [self.command, "-c", "-f", str(config), "-L", rendered.local_peer]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        return "" if done.returncode == 0 else done.stderr


@pytest.fixture(scope="module", params=["installed", "3.0"])
def haproxy(request: pytest.FixtureRequest) -> Iterator[Haproxy]:
    """Each HAProxy at hand; the folder's name is short, for the sockets in it."""
    command = shutil.which("haproxy")
    if command is None:
        pytest.skip("HAProxy is not installed")
    base = Path(tempfile.mkdtemp(prefix="doc", dir="/tmp"))
    try:
        if request.param == "3.0":
            command = str(_of_tree(base))
        paths = replace(paths_of(Settings()), base=base, certs=base / "certs")
        paths.loadbalancer(LB).certs.mkdir(parents=True)
        pki = Pki.mint("shop")
        secrets = {
            "shop-rsa": pki.issue("shop.example.org"),
            "api": pki.issue("api.example.org"),
            "partners": pki.ca,
            "revoked": pki.crl(),
        }
        yield Haproxy(command, paths, secrets)
    finally:
        shutil.rmtree(base)


def _of_tree(base: Path) -> Path:
    reason = reason_against()
    if reason is not None:
        pytest.skip(reason)
    try:
        write_wrapper("/usr/sbin/haproxy", base / "haproxy")
    except CannotBuild as error:
        pytest.skip(str(error))
    return base / "haproxy"


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
