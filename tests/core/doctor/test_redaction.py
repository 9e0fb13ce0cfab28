"""What may leave an amphora: words that are known, and nothing else."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from amphora_agent.core.doctor.redaction import HIDDEN, shown_configuration, shown_log, shown_settings
from amphora_agent.core.haproxy import vocabulary
from amphora_agent.core.settings import Settings
from testbed.amphora import SAMPLES
from testbed.pki import Pki

# A word of HAProxy's language is nobody's secret, whoever wrote it.
KNOWN = Path(str(vocabulary.__file__)).read_text()


@pytest.mark.parametrize("sample", sorted((SAMPLES / "haproxy").glob("*.cfg")), ids=lambda path: path.name)
def test_a_configuration_keeps_its_structure(sample: Any) -> None:
    text = sample.read_text()
    shown = shown_configuration(text)
    for line in shown.splitlines():
        assert line.strip() != HIDDEN
    wanted = [line.split()[0] for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert [line.split()[0] for line in shown.splitlines() if line.strip()] == wanted


def test_words_of_tenants_are_hidden() -> None:
    shown = shown_configuration(
        "frontend 4fd8b8a4-7a1d-4ed5-9c4b-9c2f0a9b7c0e\n"
        "    bind 10.0.0.5:443 ssl crt /var/lib/octavia/certs/x/secret.pem\n"
        "    acl a req.hdr(X-Token) -m str hunter2\n"
        "    http-request set-header Authorization Basic\\ cGFzcw==\n"
        "backend b:c\n"
        "    server w1 [2001:db8::1]:80 weight 5 check inter 5s\n"
    )
    assert "4fd8b8a4-7a1d-4ed5-9c4b-9c2f0a9b7c0e" in shown
    assert f"bind 10.0.0.5:443 ssl crt {HIDDEN}" in shown
    assert f"server {HIDDEN} [2001:db8::1]:80 weight 5 check inter 5s" in shown
    assert all(secret not in shown for secret in ("hunter2", "cGFzcw", "X-Token", "secret", "octavia"))


@given(st.text(st.characters(codec="ascii", categories=["Lu", "Ll", "Nd"]), min_size=11, max_size=40))
@example("xciphersuitesx")
def test_no_word_of_a_tenant_gets_through(secret: str) -> None:
    assume(secret not in KNOWN)
    text = f"frontend f\n    http-request set-header X {secret}\n    acl {secret} path /{secret}\nbackend {secret}\n"
    shown = shown_configuration(text)
    assert secret not in shown


def test_settings_are_shown_by_name_alone() -> None:
    shown = shown_settings(Settings(heartbeat_key="insecure", configuration_allow=("http-request deny",)))
    assert shown["heartbeat_key"] == HIDDEN
    assert shown["bind_port"] == 9443
    assert "insecure" not in str(shown)
    assert set(shown) == {field.name for field in fields(Settings)}
    assert shown_settings(Settings())["heartbeat_key"] is None


def test_a_log_loses_keys_and_known_secrets() -> None:
    pki = Pki.mint("amphora")
    text = f"cannot load {pki.server.decode()} with insecure and {'a' * 64}\nfine lb=x\n"
    shown = shown_log(text, ["insecure", "x"])
    assert "insecure" not in shown
    assert "BEGIN" not in shown
    assert "a" * 48 not in shown
    assert shown.endswith("fine lb=x\n")
    assert all(line not in shown for line in pki.server.decode().splitlines() if len(line) > 4)
