"""The grammar of an haproxy.cfg: how a line stands to what controllers write. Types words, judges single lines.

The tables of `vocabulary` are the one vocabulary of firewall, planner and renderer; here is how they are read.

Decision: beside what controllers write stand the forms of what only shapes traffic, so that a release of the future
with a new option or timeout does not take a cloud down. What HAProxy has beyond these forms can be told apart only
by its words; `reaches_outside` errs towards yes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from amphora_agent.core.haproxy import vocabulary
from amphora_agent.core.haproxy.words import Words

Address = IPv4Address | IPv6Address


class Standing(IntEnum):
    """How well a line is known; the higher one of two counts."""

    KNOWN = 0
    HARMLESS = 1
    UNKNOWN = 2
    OUTSIDE = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """The standing of a line, and the position of the word it is for (0 is the first)."""

    standing: Standing
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """The names outside HAProxy that a load balancer's configuration may say; everything else is somebody else's.

    `elsewhere` are addresses of this machine that are no VIPs: nothing of it may be bound.
    """

    stats_socket: str
    servers_state: str
    certificates: str
    ping_wrappers: frozenset[str]
    elsewhere: frozenset[Address] = frozenset()


KNOWN = Verdict(Standing.KNOWN)


def _options_of(*tables: str) -> dict[str, str]:
    """Return option -> type of its value, "" for one that stands alone."""
    lines = (line.split() for table in tables for line in table.strip().splitlines())
    return {words[0]: words[1].strip("<>") if len(words) > 1 else "" for words in lines}


# Option -> type of its value, "" for one that stands alone.
BIND_OPTIONS: Mapping[str, str] = _options_of(vocabulary.TLS_OPTIONS, vocabulary.BIND_OPTIONS)
SERVER_OPTIONS: Mapping[str, str] = _options_of(vocabulary.TLS_OPTIONS, vocabulary.SERVER_OPTIONS)
_OTHER_BIND_OPTIONS = _options_of(vocabulary.OTHER_TLS_OPTIONS, vocabulary.OTHER_BIND_OPTIONS)
_OTHER_SERVER_OPTIONS = _options_of(vocabulary.OTHER_TLS_OPTIONS, vocabulary.OTHER_SERVER_OPTIONS)
_OUTSIDE_DIRECTIVES = frozenset(vocabulary.OUTSIDE_DIRECTIVES.split())
_OUTSIDE_WORDS = frozenset(vocabulary.OUTSIDE_WORDS.split())
# Sample fetches and converters that read the machine, files or scripts, or write elsewhere.
_OUTSIDE_SAMPLE = re.compile(
    r"(?:51d|da-|debug|deviceatlas|env|hostname|http_auth|jwe_|jwt_|lua\.|map|ring|set-var|unset-var|wurfl)"
)
_SAMPLE_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_EXPRESSION = re.compile(r"%[^\[\s]{0,64}\[")
_ACL_FLAGS = frozenset({"-i", "-n", "-u"})
_MATCHES = frozenset({"beg", "bin", "bool", "dir", "dom", "end", "found", "int", "ip", "len", "reg", "str", "sub"})

_PEM = r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.pem"
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,256}\Z")
_INTEGER = re.compile(r"[0-9]{1,10}\Z")
_TIME = re.compile(r"[0-9]{1,10}(?:us|ms|s|m|h|d)?\Z")
_SIZE = re.compile(r"[0-9]{1,10}[kKmMgG]?\Z")
_CIPHERS = re.compile(r"[A-Za-z0-9_+!:@=.,/-]{1,4096}\Z")
_PROTOCOLS = re.compile(r"[A-Za-z0-9./,-]{1,256}\Z")
_CPU_SET = re.compile(r"(?:auto:)?[0-9/,-]{1,64}\Z")
_HEADER = re.compile(r"[A-Za-z0-9!&'*+.^_`|~-]{1,256}\Z")
_METHOD = re.compile(r"[A-Z]{1,32}\Z")
_HTTP_VERSION = re.compile(r"HTTP/[0-9](?:\.[0-9])?(?:\r\n(?:Host: [\x21-\x7e]+)?)?\Z")
_FETCH = re.compile(
    r"(?:src|path|path_end|ssl_fc|ssl_fc_sni|ssl_c_used|ssl_c_verify|ssl_c_s_dn\([A-Za-z0-9.]+\)"
    r"|(?:req\.cook|res\.cook|req\.hdr)\([A-Za-z0-9!#$%&*+.^_`|~-]+\))\Z"
)
_PLAIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9_-]*|[0-9][0-9a-zA-Z%]*|[0-9]+(?:[.,-][0-9]+)*)\Z")
_MEDIA = re.compile(r"[A-Za-z][A-Za-z0-9.+-]*(?:/[A-Za-z0-9.+*-]+)?\Z")
_PEER = re.compile(r"[A-Za-z0-9_-]{27}\Z")
_ACL_NAME = re.compile(r"!?[A-Za-z0-9_.:-]{1,256}\Z")
_TLS_FLAG = re.compile(r"(?:no-sslv3|no-tlsv1[0-3]|no-tls-tickets|ssl-min-ver|ssl-max-ver|TLSv1\.[0-3])\Z")


def first_words(kind: str) -> frozenset[str]:
    """Return the directives the controller's releases write in sections of a kind."""
    return frozenset(_forms(kind, Standing.KNOWN))


def judge_line(kind: str, words: Words, own: Belongings) -> Verdict:
    """Return the verdict over one line of a known section.

    Args:
        kind: `global`, `defaults`, `peers`, `frontend`, `backend`, or the exporter's `exporter-frontend` and
            `exporter-backend`.
        words: the line's words as HAProxy reads them, at least one.
        own: the names the line may say.
    """
    best: Verdict | None = None
    for standing in (Standing.KNOWN, Standing.HARMLESS):
        for form in _forms(kind, standing).get(words[0], ()):
            met = form.match(words, own)
            if met.standing <= standing:
                return Verdict(max(met.standing, standing))
            if best is None or (met.position, met.standing) > (best.position, best.standing):
                best = met
    return _unfamiliar(words, best)


def _unfamiliar(words: Words, best: Verdict | None) -> Verdict:
    """Return the verdict over a line that no form describes: outside, unless each of its words is plain."""
    if best is not None and best.standing is Standing.OUTSIDE:
        return best
    if words[0] in _OUTSIDE_DIRECTIVES or words[0].startswith(vocabulary.OUTSIDE_FAMILIES):
        return Verdict(Standing.OUTSIDE, best.position if best is not None else 0)
    first = min(best.position, len(words) - 1) if best is not None else 0  # the words before it have their types
    for position in range(first, len(words)):
        if words[position] in _OUTSIDE_WORDS or reaches_outside(words[position]):
            return Verdict(Standing.OUTSIDE, position)
    return Verdict(Standing.UNKNOWN, first)


def reaches_outside(word: str) -> bool:
    """Tell whether an unfamiliar word might name a file, a socket, an address or a script; yes unless it is plain.

    Plain is a word of letters, digits, `_` and `-`, or a number.
    """
    return _PLAIN.match(word) is None or word.startswith("lua")


@dataclass(frozen=True, slots=True)
class _Form:
    """One line's form: its words as written in the tables above."""

    words: Words
    standing: Standing

    def match(self, words: Words, own: Belongings) -> Verdict:
        """Return KNOWN or HARMLESS when the line has this form, else OUTSIDE or UNKNOWN and the word that differs."""
        at = 0
        for wanted in self.words:
            if wanted.endswith("...>"):
                rest = _RESTS[wanted](words, at, own)
                return rest if rest.standing is not Standing.KNOWN else Verdict(self.standing, at)
            optional = wanted.startswith("[")
            found = at < len(words) and _is(wanted.strip("[]"), words[at], own)
            if not found and not optional:
                standing = Standing.OUTSIDE if wanted in _TIED else Standing.UNKNOWN
                return Verdict(standing, min(at, len(words) - 1))
            at += found
        return Verdict(self.standing, at) if at == len(words) else Verdict(Standing.UNKNOWN, at)


@functools.cache
def _forms(kind: str, standing: Standing) -> Mapping[str, tuple[_Form, ...]]:
    """Return first word -> forms of one section."""
    found: dict[str, tuple[_Form, ...]] = {}
    for line in _TABLES[kind][standing].splitlines():
        words = tuple(line.split())
        for first in words[0].split("|") if words else ():
            found[first] = (*found.get(first, ()), _Form((first, *words[1:]), standing))
    return found


_TABLES = {
    "global": (vocabulary.GLOBAL, vocabulary.PROCESS),
    "defaults": (vocabulary.DEFAULTS, vocabulary.TRAFFIC),
    "peers": (vocabulary.PEERS, vocabulary.OTHER_PEERS),
    "frontend": (vocabulary.FRONTEND, vocabulary.TRAFFIC),
    "backend": (vocabulary.BACKEND, vocabulary.TRAFFIC),
    "exporter-frontend": (vocabulary.EXPORTER_FRONTEND, ""),
    "exporter-backend": (vocabulary.EXPORTER_BACKEND, ""),
}


def _is(wanted: str, word: str, own: Belongings) -> bool:
    if wanted.startswith("<"):
        return TYPES[wanted[1:-1]](word, own)
    return word == wanted if "|" not in wanted else word in wanted.split("|")


def _matches(pattern: re.Pattern[str]) -> Callable[[str, Belongings], bool]:
    return lambda word, _own: pattern.match(word) is not None


def parse_address(text: str) -> Address | None:
    """Return an IP address with or without brackets, None when it is none."""
    try:
        address = ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id else address


def split_address(word: str) -> tuple[Address, int] | None:
    """Return address and port of `10.0.0.1:80`, `2001:db8::1:80` or `[2001:db8::1]:80`, None for other forms."""
    text, _, port = word.rpartition(":")
    address = parse_address(text)
    return (address, int(port)) if address is not None and _is_port(port) else None


def _is_port(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 5 and 1 <= int(word) <= 65535


def _is_bind_address(word: str, own: Belongings) -> bool:
    place = split_address(word)
    if place is None or place[0].is_unspecified or place[0].is_loopback or place[0].is_multicast:
        return False
    return place[0] not in own.elsewhere


def _is_peer_address(word: str, _own: Belongings) -> bool:
    place = split_address(word)
    return place is not None and not (place[0].is_unspecified or place[0].is_loopback or place[0].is_multicast)


def _is_certificate(word: str, own: Belongings) -> bool:
    folder, _, name = word.rpartition("/")
    return folder == own.certificates and re.match(_PEM + r"\Z", name) is not None


def is_safe_sample(text: str) -> bool:
    """Tell whether a sample expression uses only fetches and converters that stay within the connection.

    Each word in it is looked at, those of arguments too: where an expression ends is for HAProxy to say.
    """
    return "/" not in text and not any(map(_OUTSIDE_SAMPLE.match, _SAMPLE_NAME.findall(text)))


def _is_safe_format(text: str, _own: Belongings) -> bool:
    """Tell whether a log format has no expression but safe ones."""
    expression = _EXPRESSION.search(text)
    return expression is None or is_safe_sample(text[expression.end() :])


def _options(known: Mapping[str, str], traffic: Mapping[str, str]) -> Callable[[Words, int, Belongings], Verdict]:
    """Return the judge of the options of a bind or server line."""

    def judge(words: Words, at: int, own: Belongings) -> Verdict:
        worst = KNOWN
        while at < len(words):
            word = words[at]
            value = known.get(word)
            standing = Standing.KNOWN if value is not None else Standing.HARMLESS
            if value is None:
                value = traffic.get(word)
            if value is None:
                outside = word in _OUTSIDE_WORDS or reaches_outside(word)
                return Verdict(Standing.OUTSIDE if outside else Standing.UNKNOWN, at)
            if value:
                at += 1
                if at == len(words):
                    return Verdict(Standing.UNKNOWN, at - 1)
                if not TYPES[value](words[at], own):
                    tied = f"<{value}>" in _TIED or reaches_outside(words[at])
                    return Verdict(Standing.OUTSIDE if tied else Standing.UNKNOWN, at)
            worst = max(worst, Verdict(standing, at), key=lambda verdict: verdict.standing)
            at += 1
        return worst

    return judge


def _acl(words: Words, at: int, _own: Belongings) -> Verdict:
    """Judge `fetch [flags] [patterns]`: patterns are free text, but only after the flags, and never from a file."""
    if at >= len(words):
        return Verdict(Standing.UNKNOWN, len(words) - 1)
    if not is_safe_sample(words[at]):
        return Verdict(Standing.OUTSIDE, at)
    standing = Standing.KNOWN if _FETCH.match(words[at]) is not None else Standing.HARMLESS
    at += 1
    while at < len(words) and words[at].startswith("-"):
        flag = words[at]
        if flag == "--":
            break
        if flag == "-m" and at + 1 < len(words) and words[at + 1] in _MATCHES:
            at += 1
        elif flag not in _ACL_FLAGS:
            return Verdict(Standing.OUTSIDE, at)
        at += 1
    return Verdict(standing, at)


def _condition(words: Words, at: int, own: Belongings) -> Verdict:
    """Judge nothing, or `if` or `unless` with names of ACLs, operators and anonymous ACLs in braces."""
    if at == len(words):
        return KNOWN
    if words[at] not in ("if", "unless") or at + 1 == len(words):
        return Verdict(Standing.UNKNOWN, at)
    worst = KNOWN
    at += 1
    while at < len(words):
        if words[at] in ("{", "!{"):
            end = next((i for i in range(at, len(words)) if words[i] == "}"), None)
            inside = Verdict(Standing.UNKNOWN, at) if end is None else _acl(words[:end], at + 1, own)
            if end is None or inside.standing > Standing.HARMLESS:
                return inside
            worst = max(worst, inside, key=lambda verdict: verdict.standing)
            at = end
        elif words[at] not in ("!", "||") and _ACL_NAME.match(words[at]) is None:
            return Verdict(Standing.UNKNOWN, at)
        at += 1
    return worst


def _every(type_name: str) -> Callable[[Words, int, Belongings], Verdict]:
    """Return the judge of a rest whose words are all of one type."""

    def judge(words: Words, at: int, own: Belongings) -> Verdict:
        for position in range(at, len(words)):
            if not TYPES[type_name](words[position], own):
                return Verdict(Standing.UNKNOWN, position)
        return KNOWN

    return judge


# A word that names a file option is no name and no list: whoever looks for files finds pairs of words.
TYPES: Mapping[str, Callable[[str, Belongings], bool]] = {
    "address": lambda word, _own: parse_address(word) is not None,
    "bind-address": _is_bind_address,
    "certificate": _is_certificate,
    "certificates": lambda word, own: word.rstrip("/") == own.certificates or _is_certificate(word, own),
    "ciphers": lambda word, _own: _CIPHERS.match(word) is not None and word not in vocabulary.FILE_OPTIONS,
    "cpu-set": _matches(_CPU_SET),
    "facility": _matches(re.compile(r"local[0-7]\Z")),
    "fetch": lambda word, _own: _FETCH.match(word) is not None,
    "header": _matches(_HEADER),
    "http-version": _matches(_HTTP_VERSION),
    "integer": _matches(_INTEGER),
    "level": _matches(re.compile(r"(?:emerg|alert|crit|err|warning|notice|info|debug)\Z")),
    "log-format": _is_safe_format,
    "log-socket": lambda word, _own: word == vocabulary.LOG_SOCKET,
    "media": _matches(_MEDIA),
    "method": _matches(_METHOD),
    "name": lambda word, _own: _NAME.match(word) is not None and word not in vocabulary.FILE_OPTIONS,
    "option": lambda word, _own: not reaches_outside(word) and word not in _OUTSIDE_WORDS,
    "peer": _matches(_PEER),
    "peer-address": _is_peer_address,
    "ping-wrapper": lambda word, own: word in own.ping_wrappers,
    "plain": lambda word, _own: not reaches_outside(word),
    "port": lambda word, _own: _is_port(word),
    "protocols": lambda word, _own: _PROTOCOLS.match(word) is not None and word not in vocabulary.FILE_OPTIONS,
    "server-address": lambda word, _own: split_address(word) is not None,
    "servers-state": lambda word, own: word == own.servers_state,
    "size": _matches(_SIZE),
    "stats-socket": lambda word, own: word == own.stats_socket,
    "text": lambda word, own: word != "" and _is_safe_format(word, own),
    "time": _matches(_TIME),
    "tls-flags": _matches(
        re.compile(r"(?:no-sslv3|no-tlsv1[0-3]|no-tls-tickets|ssl-min-ver|ssl-max-ver|TLSv1\.[0-3])\Z")
    ),
    "verify": _matches(re.compile(r"(?:none|optional|required)\Z")),
}
# A word that is to have one of these types and has not is somebody else's file, socket or address.
_TIED = frozenset(
    {
        "<address>",
        "<bind-address>",
        "<certificate>",
        "<certificates>",
        "<log-socket>",
        "<peer>",
        "<peer-address>",
        "<ping-wrapper>",
        "<server-address>",
        "<servers-state>",
        "<stats-socket>",
    }
)
_RESTS: Mapping[str, Callable[[Words, int, Belongings], Verdict]] = {
    "<acl...>": _acl,
    "<bind-options...>": _options(BIND_OPTIONS, _OTHER_BIND_OPTIONS),
    "<condition...>": _condition,
    "<media...>": _every("media"),
    "<plain...>": _every("plain"),
    "<server-options...>": _options(SERVER_OPTIONS, _OTHER_SERVER_OPTIONS),
    "<text...>": _every("text"),
    "<tls-flags...>": _every("tls-flags"),
}
