"""The configuration firewall finds nothing in whatever Octavia's own renderers write."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.firewall import review
from amphora_agent.core.haproxy.grammar import Belongings
from amphora_agent.core.settings import FirewallMode
from testbed import octavia_venv
from testbed.amphora import LB_ID

OWN = Belongings(
    stats_socket=f"/var/lib/octavia/{LB_ID}.sock",
    servers_state=f"/var/lib/octavia/{LB_ID}/servers-state",
    certificates=f"/var/lib/octavia/certs/{LB_ID}",
    ping_wrappers=frozenset({"/var/lib/octavia/ping-wrapper.sh"}),
)


@pytest.mark.parametrize("release", octavia_venv.RELEASES)
def test_no_render_of_a_release_is_unfamiliar(release: str) -> None:
    python = octavia_venv.install(release) / "bin" / "python"
    script = Path(__file__).with_name("render_configurations.py")
    done = subprocess.run([python, script], check=True, capture_output=True, text=True, timeout=300)
    texts = json.loads(done.stdout)
    assert len(texts) > 500
    for name, text in texts.items():
        found = review(text.split("\n"), FirewallMode.ENFORCE, OWN)
        assert [str(finding) for finding in (*found.refused, *found.warned)] == [], name


def test_a_render_with_a_hostile_value_is_refused() -> None:
    """What the renderer would write for a cipher list with a blank in it."""
    text = (Path(__file__).parents[2] / "testbed" / "samples" / "haproxy" / "04-terminated-https-sni.cfg").read_text()
    hostile = text.replace(" ciphers ", " ciphers ALL crt-list /etc/shadow ciphers ", 1)
    assert review(text.split("\n"), FirewallMode.ENFORCE, OWN).refused == ()
    refused = review(hostile.split("\n"), FirewallMode.ENFORCE, OWN).refused
    assert [finding.word for finding in refused] == ["/etc/shadow"]
