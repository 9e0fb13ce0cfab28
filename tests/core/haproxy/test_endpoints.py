"""Where a configuration listens."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.endpoints import Endpoint, endpoints, shares_ports


def test_plain_addresses_and_ports_alone() -> None:
    text = """frontend a
    bind 10.0.0.1:80
    bind 2001:db8::1:443 ssl crt /x
    bind [2001:db8::2]:443
    bind *:80
    bind /run/socket
    bind 10.0.0.1:0
    bind 10.0.0.1:²
    bind 10.0.0.1:70000
"""
    found = endpoints(parse(text))
    assert found == {
        Endpoint(ip_address("10.0.0.1"), 80),
        Endpoint(ip_address("2001:db8::1"), 443),
        Endpoint(ip_address("2001:db8::2"), 443),
    }
    assert {str(each) for each in found} == {"10.0.0.1:80", "[2001:db8::1]:443", "[2001:db8::2]:443"}


@pytest.mark.parametrize(("line", "expected"), [("noreuseport", False), ("maxconn 7", True)])
def test_ports_are_shared_unless_the_configuration_says_otherwise(line: str, *, expected: bool) -> None:
    assert shares_ports(parse(f"global\n    {line}\n")) is expected
