"""Every sample as each release renders it: read by the agent's core as it should be; each HAProxy configuration run."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.config import parse, rewrite_for
from amphora_agent.core.keepalived import lvs_config, vrrp_config
from testbed import octavia_venv
from testbed.amphora import LB_ID, SAMPLES
from testbed.pki import Pki
from testbed.scenario import VIP, Scenario, scenario
from tests.compat.conftest import fresh_amphora
from tests.compat.controller import OctaviaController, raw
from tests.system.runtime.haproxies import Binary, binaries

CONFIGS = sorted(path.stem for path in (SAMPLES / "haproxy").glob("*.cfg"))
# What the cloud hands over is no text of the controller's renderers.
RENDERED = sorted(str(path.relative_to(SAMPLES)) for path in SAMPLES.glob("*/*") if path.parent.name != "user-data")
TENANT = "www.example.org"


def test_every_sample_is_rendered(rendered: Path, release: str) -> None:
    """The committed samples are the newest release's, byte by byte; the others render the same set of files."""
    assert sorted(str(path.relative_to(rendered)) for path in rendered.glob("*/*")) == RENDERED
    if release == octavia_venv.NEWEST:
        assert [name for name in RENDERED if (rendered / name).read_bytes() != (SAMPLES / name).read_bytes()] == []


def test_haproxy_configurations_are_read_whole(rendered: Path) -> None:
    for name in CONFIGS:
        text = (rendered / "haproxy" / f"{name}.cfg").read_text()
        config = parse(text)
        assert haproxy_config.render(config) == text, name
        assert parse(haproxy_config.render(config)) == config, name


def test_keepalived_configurations_mean_the_same_whoever_rendered_them(rendered: Path) -> None:
    """What the agent reads from them is what it reads from the newest release's, which its own tests know by heart."""
    for committed in sorted((SAMPLES / "lvs").glob("*.conf")):
        text = (rendered / "lvs" / committed.name).read_text()
        assert lvs_config.parse(text) == lvs_config.parse(committed.read_text()), committed.name
    for committed in sorted((SAMPLES / "vrrp").glob("*.conf")):
        text = (rendered / "vrrp" / committed.name).read_text()
        assert vrrp_config.vips(text) == vrrp_config.vips(committed.read_text()) != frozenset(), committed.name


@pytest.fixture(scope="module")
def plugged(octavia: OctaviaController) -> Iterator[Scenario]:
    """One amphora for all samples, so that each is also a change from the one before."""
    with fresh_amphora(heartbeats=False) as amphora, scenario(amphora) as surroundings:
        octavia.attach(amphora)
        surroundings.plug()
        yield surroundings


def files_of(crt_list: Path, text: str, localised: Callable[[str], str]) -> dict[str, bytes]:
    """Return file name -> content for every certificate, CA, CRL and crt-list that a configuration names."""
    pki = Pki.mint(TENANT)
    pair = pki.issue(TENANT)
    contents = {"ca-file": pki.ca, "crl-file": pki.crl(), "crt": pair}
    files = {}
    for kind, path in re.findall(r"\b(crt-list|crt|ca-file|crl-file) (\S+\.pem)", text):
        if kind == "crt-list":
            own = f"/var/lib/octavia/certs/{LB_ID}/default.pem\n"
            listed = localised(crt_list.read_text() if crt_list.exists() else own)
            files.update({line.rpartition("/")[2]: pair for line in listed.split()})
            contents["crt-list"] = listed.encode()
        files[path.rpartition("/")[2]] = contents[kind]
    return files


def with_small_cache(text: str) -> str:
    """Return a configuration without a session cache of gigabytes: HAProxy fills it with zeros at every start."""
    return re.sub(r"tune\.ssl\.cachesize \d+", "tune.ssl.cachesize 100000", text)


@pytest.mark.parametrize("binary", binaries(), ids=str)
def test_every_haproxy_takes_what_every_release_renders(rendered: Path, binary: Binary) -> None:
    """The agent's rewriting makes each configuration one that this HAProxy's own check accepts."""
    # pytest's own directories are too deep for the path of a socket.
    with tempfile.TemporaryDirectory(prefix="amphora-") as base:
        (Path(base) / "certs" / LB_ID).mkdir(parents=True)
        refusals = [refusal for name in CONFIGS for refusal in refusals_of(binary, rendered / "haproxy", name, base)]
    assert not refusals, "\n".join(refusals)


def refusals_of(binary: Binary, samples: Path, name: str, base: str) -> list[str]:
    """Return what HAProxy has against a sample as the agent would store it below `base`; empty when it takes it."""

    def localised(text: str) -> str:
        return text.replace("/var/lib/octavia", base)

    text = with_small_cache(localised((samples / f"{name}.cfg").read_text()))
    for file, content in files_of(samples / f"{name}.crt-list.txt", text, localised).items():
        (Path(base) / "certs" / LB_ID / file).write_bytes(content)
    config = Path(base) / "haproxy.cfg"
    config.write_text(rewrite_for(text, binary.version))
    argv = [*binary.argv, "-c", "-L", "peer", "-f", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return [f"{name}: {done.stderr}"] if done.returncode else []


@pytest.mark.parametrize("name", CONFIGS)
def test_haproxy_configuration(plugged: Scenario, octavia: OctaviaController, rendered: Path, name: str) -> None:
    localised = plugged.amphora.localised
    text = with_small_cache(localised((rendered / "haproxy" / f"{name}.cfg").read_text()))
    for file, content in files_of(rendered / "haproxy" / f"{name}.crt-list.txt", text, localised).items():
        octavia.client("upload_cert_pem", LB_ID, file, raw(content))
    octavia.client("upload_config", LB_ID, text)
    octavia.client("reload_listener", LB_ID)

    frontends = [line.split()[1] for line in text.splitlines() if line.startswith("frontend ")]
    assert sorted(entry["uuid"] for entry in octavia.client("get_all_listeners")) == sorted(frontends)
    assert octavia.client("get_details")["haproxy_count"] == 1
    for port in re.findall(rf"^\s+bind {VIP}:(\d+)", text, re.MULTILINE):
        plugged.clients.connect(VIP, int(port)).close()
    stored = plugged.amphora.request("GET", f"/1.0/loadbalancer/{LB_ID}/haproxy")
    version = binaries()[0].version
    assert stored.body.decode() == rewrite_for(text, version)
    assert stored.headers["content-type"].lower() == "text/plain; charset=utf-8"
