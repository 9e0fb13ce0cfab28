"""The whole agent when a certificate is renewed under load."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time

import pytest

from testbed.amphora import LB_ID, RunningAmphora
from testbed.certificates import mint
from testbed.scenario import VIP, Scenario
from testbed.waiting import wait_for
from tests.system.runtime.tenants import reload


@pytest.mark.timeout(120)
def test_a_certificate_is_renewed_under_load(surroundings: Scenario) -> None:
    amphora, minted = surroundings.amphora, mint(8)
    config = amphora.sample("haproxy/04-terminated-https-sni.cfg")
    list_name = "7f699c35-164b-5869-a43d-47618ff89fe2.pem"
    failures: list[str] = []
    served: list[tuple[float, bytes | None]] = []
    stop = threading.Event()

    def shake_hands() -> None:
        while not stop.is_set():
            try:
                served.append((time.monotonic(), shown(surroundings)))
            except OSError as error:
                failures.append(repr(error))

    store_certificate(amphora, list_name, minted.next_certificate(), config)
    threads = [threading.Thread(target=shake_hands) for _ in range(3)]
    for thread in threads:
        thread.start()
    delays = []
    began = time.monotonic()
    for _ in range(6):
        pem = minted.next_certificate()
        store_certificate(amphora, list_name, pem, config)
        answered = time.monotonic()
        wanted = ssl.PEM_cert_to_DER_cert(pem.decode().partition("-----BEGIN PRIVATE")[0].strip())
        wait_for(lambda: served[-1][1] == wanted, "the new certificate is served")  # noqa: B023 - called at once
        delays.append(next(at for at, der in reversed(served) if der == wanted) - answered)
    took = time.monotonic() - began
    stop.set()
    for thread in threads:
        thread.join()
    print(f"\n{len(served) / took:.0f} handshakes/s, delays {[f'{d * 1000:.0f} ms' for d in delays]}")  # noqa: T201
    assert failures == []
    assert amphora.log.count("reloaded haproxy") == 0


def store_certificate(amphora: RunningAmphora, list_name: str, pem: bytes, config: str) -> None:
    """Do what the controller does for a renewed certificate: new file, new crt-list, the same configuration."""
    name = f"{hashlib.sha1(pem).hexdigest()}.pem"  # noqa: S324 - the controller's way of naming
    path = f"/1.0/loadbalancer/{LB_ID}/certificates"
    listed = f"{amphora.inner(amphora.cert_dir)}/{LB_ID}/{name}\n"
    assert amphora.request("PUT", f"{path}/{name}", pem).status == 200
    assert amphora.request("PUT", f"{path}/{list_name}", listed).status == 200
    upload = f"/1.0/loadbalancer/{amphora.amphora_id}/{LB_ID}/haproxy"
    assert amphora.request("PUT", upload, config).status == 202
    assert reload(amphora) == 202


def shown(surroundings: Scenario) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        surroundings.clients.connect(VIP, 443, timeout=5.0) as plain,
        context.wrap_socket(plain, server_hostname="unknown.test") as connection,
    ):
        return connection.getpeercert(binary_form=True)
