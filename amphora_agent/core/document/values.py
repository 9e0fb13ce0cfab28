"""Text of a document that only means something to a machine: expressions, ciphers, codes, addresses. Judges and parses.

Decision: what is accepted here is less than HAProxy accepts, so that nothing is accepted which HAProxy refuses: an
expression must compile in Python and use only what PCRE2 reads alike; ciphers must be names that OpenSSL 3 knows.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network

from amphora_agent.core.addresses import Address, HostAddress, parse_address
from amphora_agent.core.document.model import TlsVersion

Network = IPv4Network | IPv6Network

# Source: HAProxy configuration manual, bind options "ciphersuites" and "ciphers"; OpenSSL's openssl-ciphers(1).
SUITES_1_3 = frozenset(
    {
        "TLS_AES_128_CCM_8_SHA256",
        "TLS_AES_128_CCM_SHA256",
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }
)
_AUTHENTICATIONS = ("", "ECDHE-RSA-", "ECDHE-ECDSA-", "DHE-RSA-")
_BULK = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA256", "AES256-SHA256", "AES128-SHA", "AES256-SHA")
CIPHERS_1_2 = frozenset(
    {
        *(f"{who}{how}" for who in _AUTHENTICATIONS for how in _BULK if who[:2] != "EC" or how != "AES256-SHA256"),
        *(f"{who}AES256-SHA384" for who in ("ECDHE-RSA-", "ECDHE-ECDSA-")),
        *(f"{who}CHACHA20-POLY1305" for who in ("ECDHE-RSA-", "ECDHE-ECDSA-", "DHE-RSA-")),
    }
)

_LONGEST_REPETITION = 1000
_ATOM = re.compile(
    r"""
    \\[dDsSwWbBAtnrfv]          # classes, anchors and controls that both spell so
  | \\x[0-9A-Fa-f]{2}
  | \\[^A-Za-z0-9]              # any punctuation, taken literally
  | \((?:\?[:=!]|(?!\?))        # a group, plain or not captured, and looking ahead
  | \{(?P<low>\d{1,3})(?:,(?P<high>\d{0,3}))?\}
  | \[\^?\]?(?:\\[dDsSwW]|\\x[0-9A-Fa-f]{2}|\\[^A-Za-z0-9]|[^\]\[\\])*\]
  | [^\\(\[{]
    """,
    re.VERBOSE,
)


def parse_host(text: str) -> HostAddress | None:
    """Return an address with the length of its subnet's prefix, None when `text` is none: `10.0.0.5/24`."""
    try:
        return ip_interface(text) if re.search(r"/[0-9]{1,3}\Z", text) and "%" not in text else None
    except ValueError:
        return None


def host_fault(address: Address) -> str:
    """Return why no interface can have an address, empty when one can."""
    if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local:
        return f"{address} is no address of a host on a network"
    return f"{address} is reserved" if _is_reserved(address) else ""


def hop_fault(address: Address) -> str:
    """Return why nothing can be sent by way of an address, empty when it can."""
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        return f"{address} is no address of a router"
    return f"{address} is reserved" if _is_reserved(address) else ""


def _is_reserved(address: Address) -> bool:
    return (address.version == 4 and address.is_reserved) or getattr(address, "ipv4_mapped", None) is not None


def canonical_address(text: str) -> str:
    """Return an IP address as programs write it; IPv4 can be written in one way only."""
    return str(parse_address(text)) if ":" in text else text


def parse_network(text: str) -> Network | None:
    """Return a subnet, None when `text` is none or has host bits."""
    try:
        return ip_network(text)
    except ValueError:
        return None


def status_codes(text: str) -> tuple[int, ...]:
    """Return the codes that `200`, `200,204` or `200-204` mean, in order; a range the wrong way round has none."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def expression_fault(text: str) -> str:
    """Return why a regular expression cannot be taken, empty when it can."""
    if not text.isascii():
        return "the expression is not ASCII"
    repetitions = 1
    place = 0
    while place < len(text):
        atom = _ATOM.match(text, place)
        if atom is None:
            return f"not understood at character {place + 1}"
        place = atom.end()
        repetitions *= max(1, int(atom["high"] or atom["low"] or 1))
        if repetitions > _LONGEST_REPETITION:
            return f"more than {_LONGEST_REPETITION} repetitions"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(text)
    except (re.error, Warning, OverflowError, RecursionError) as error:
        return str(error).partition("\n")[0]
    return ""


def split_ciphers(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names up to TLS 1.2 and the suites of TLS 1.3, each in order."""
    names = [name for name in text.split(":") if name]
    suites = tuple(name for name in names if name.startswith("TLS_"))
    return tuple(name for name in names if not name.startswith("TLS_")), suites


def unknown_ciphers(text: str) -> tuple[str, ...]:
    """Return the names that OpenSSL might not take."""
    names, suites = split_ciphers(text)
    return tuple(name for name in names if name not in CIPHERS_1_2) + tuple(s for s in suites if s not in SUITES_1_3)


def has_hole(versions: Iterable[TlsVersion]) -> bool:
    """Tell whether a version between two others is missing, which HAProxy does not do."""
    order = list(TlsVersion)
    places = sorted({order.index(version) for version in versions})
    return bool(places) and places[-1] - places[0] + 1 != len(places)
