"""Where a configuration listens, as addresses and ports that can be tried. Binds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from amphora_agent.core.haproxy.config import Config, frontends, section_words
from amphora_agent.core.numbers import parse_number

_HIGHEST_PORT = 65535
_SHARES_NO_PORT = ("noreuseport",)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address and port."""

    address: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def endpoints(config: Config) -> frozenset[Endpoint]:
    """Return what the frontends of a configuration bind; what is no plain address and port is left out."""
    found = set()
    for frontend in frontends(config):
        for bind in frontend.binds:
            port = parse_number(bind.port)
            try:
                address = ip_address(bind.address.removeprefix("[").removesuffix("]"))
            except ValueError:
                continue
            if port is not None and 0 < port <= _HIGHEST_PORT:
                found.add(Endpoint(address, port))
    return frozenset(found)


def shares_ports(config: Config) -> bool:
    """Tell whether HAProxy may listen where another of its processes does, which it does unless told otherwise.

    Source: HAProxy configuration guide, section 3.2, `noreuseport`.
    """
    return not any(
        words[:1] == _SHARES_NO_PORT
        for section in config.sections
        if section.kind == "global"
        for words in section_words(section)
    )
