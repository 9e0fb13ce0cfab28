"""Every HAProxy configuration of `samples/`, one after the other into the same amphora: accepted, run, reported."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from testbed.amphora import LB_ID, SAMPLES, RunningAmphora
from testbed.pki import Pki
from testbed.scenario import VIP, Scenario, scenario
from tests.compat.conftest import fresh_amphora
from tests.compat.controller import OctaviaController, raw

CONFIGS = sorted(path.stem for path in (SAMPLES / "haproxy").glob("*.cfg"))
TENANT = "www.example.org"


@pytest.fixture(scope="module")
def plugged(octavia: OctaviaController) -> Iterator[Scenario]:
    """One amphora for all samples, so that each is also a change from the one before."""
    with fresh_amphora(heartbeats=False) as amphora, scenario(amphora) as surroundings:
        octavia.attach(amphora)
        surroundings.plug()
        yield surroundings


def files_of(amphora: RunningAmphora, name: str, text: str) -> dict[str, bytes]:
    """Return file name -> content for every certificate, CA, CRL and crt-list that a configuration names."""
    pki = Pki.mint(TENANT)
    pair = pki.issue(TENANT)
    contents = {"ca-file": pki.ca, "crl-file": pki.crl(), "crt": pair}
    files = {}
    for kind, path in re.findall(r"\b(crt-list|crt|ca-file|crl-file) (\S+\.pem)", text):
        if kind == "crt-list":
            sample = SAMPLES / "haproxy" / f"{name}.crt-list.txt"
            own = f"{amphora.inner(amphora.cert_dir / LB_ID / 'default.pem')}\n"
            listed = amphora.localised(sample.read_text()) if sample.exists() else own
            files.update({line.rpartition("/")[2]: pair for line in listed.split()})
            contents["crt-list"] = listed.encode()
        files[path.rpartition("/")[2]] = contents[kind]
    return files


@pytest.mark.parametrize("name", CONFIGS)
def test_haproxy_configuration(plugged: Scenario, octavia: OctaviaController, name: str) -> None:
    text = plugged.amphora.sample(f"haproxy/{name}.cfg")
    # A session cache of gigabytes would only be waited for: HAProxy fills it with zeros at every start.
    text = re.sub(r"tune\.ssl\.cachesize \d+", "tune.ssl.cachesize 100000", text)
    for file, content in files_of(plugged.amphora, name, text).items():
        octavia.client("upload_cert_pem", LB_ID, file, raw(content))
    octavia.client("upload_config", LB_ID, text)
    octavia.client("reload_listener", LB_ID)

    frontends = [line.split()[1] for line in text.splitlines() if line.startswith("frontend ")]
    assert sorted(entry["uuid"] for entry in octavia.client("get_all_listeners")) == sorted(frontends)
    assert octavia.client("get_details")["haproxy_count"] == 1
    for port in re.findall(rf"^\s+bind {VIP}:(\d+)", text, re.MULTILINE):
        plugged.clients.connect(VIP, int(port)).close()
    stored = plugged.amphora.request("GET", f"/1.0/loadbalancer/{LB_ID}/haproxy")
    assert stored.body.decode() == text
    assert stored.headers["content-type"].lower() == "text/plain; charset=utf-8"
