"""The controller's haproxy.cfg as a value: sections of lines, and the few facts the agent needs from them.

Parses text; never opens a file and never judges whether HAProxy would accept the text (`haproxy -c` does).

Decision: the model keeps every line as it was written and understands only the words it must. A file from an unknown
controller release is therefore stored, compared and started like any other; what we do not understand can only
cost a reload.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from ipaddress import ip_address
from itertools import pairwise

from amphora_agent.core.addresses import Address
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.haproxy.vocabulary import FILE_OPTIONS
from amphora_agent.core.haproxy.words import BLANKS, Words, split_words, unquote

# Source: HAProxy configuration manual 2.6 to 3.2, chapters 3 and 4. HAProxy finds these at any indentation.
SECTIONS = frozenset(
    {
        "acme",
        "backend",
        "cache",
        "crt-list",
        "crt-store",
        "defaults",
        "fcgi-app",
        "frontend",
        "global",
        "http-errors",
        "listen",
        "log-forward",
        "log-profile",
        "mailers",
        "namespace_list",
        "peers",
        "program",
        "resolvers",
        "ring",
        "traces",
        "userlist",
    }
)
_HEADER = re.compile(
    rf"""^(?:[^ \t\v\f\r\n\#]|[ \t\v\f\r]+(?:(?:{"|".join(sorted(SECTIONS))})(?![\w-])|[^ \t\v\f\r\n\#]*["'\\]))""",
    re.MULTILINE,
)
_FILE_LINES = frozenset({"bind", "server", "default-server", "server-template", "peer"})
_BEFORE_EXTERNAL_CHECK = Version(1, 6)
_WITHOUT_HTX_OPTION = Version(2, 5)
_WITHOUT_HIDDEN_HEADERS = Version(2, 7)
# SAFE: the whole line has to be of this form, and the host is one word without quotes or escapes.
_HIDDEN_HOST = re.compile(
    r"(?P<check>(?P<margin>[ \t]*)option httpchk \S.* HTTP/1\.[01])\\r\\nHost:\\ (?P<host>[^\s\\\"'#$]+)[ \t]*$"
)
# A line without any of these is never rewritten; looking for them is cheaper than splitting every line.
_REWRITTEN = ("group", "external-check", "http-use-htx", "\\r\\nHost:")

# The name the controller gives it; the stored text is as the controller sent it, but for old keywords.
_EXPORTER = b"\nfrontend prometheus-exporter-internal-endpoint"


@dataclass(frozen=True, slots=True)
class Section:
    """One section. `name` is the rest of its first line, empty for `global`; `lines` are raw, indentation included."""

    kind: str
    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """A whole file: the lines before the first section (comments, normally), then the sections in order."""

    preamble: tuple[str, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    """One `bind` line. `address` is everything before the last colon (an IPv6 address stands unbracketed)."""

    address: str
    port: str
    options: Words


@dataclass(frozen=True, slots=True)
class Frontend:
    """A listener as HAProxy sees it; `mode` is None when the section does not say."""

    id: str
    mode: str | None
    binds: tuple[Bind, ...]

    @property
    def is_terminated_https(self) -> bool:
        """Tell whether a bind line goes on with `ssl crt-list` right after the address."""
        return any(bind.options[:2] == ("ssl", "crt-list") for bind in self.binds)


@dataclass(frozen=True, slots=True)
class ParsedText:
    """A text and its model, with what the model of a similar text can be made from.

    `lines` are all lines, an empty one after the last line feed included; `headers` are the numbers, from 0, and words
    of those that start sections.
    """

    text: str
    lines: tuple[str, ...]
    headers: tuple[tuple[int, Words], ...]
    config: Config


def parse(text: str) -> Config:
    """Return the model of any text whatsoever; what is not understood stays as lines."""
    return parse_text(text).config


def parse_text(text: str) -> ParsedText:
    """Return a text with its model."""
    lines = tuple(text.split("\n"))
    return _parsed_text(text, lines, tuple(_headers(text, lines)))


def parse_edited(text: str, before: ParsedText) -> ParsedText:
    """Return what `parse_text` returns; quick, and it shares its lines with the text before, where few of them differ.

    Whether a line starts a section depends on that line alone.
    """
    first = text.rfind("\n", 0, _common_start(text, before.text)) + 1
    last = text.find("\n", len(text) - _common_end(text[first:], before.text[first:])) + 1
    edited = text[first : last - 1] if last else text[first:]
    head, between = text.count("\n", 0, first), tuple(edited.split("\n"))
    rest = text.count("\n", last) + 1 if last else 0
    tail = len(before.lines) - rest
    moved = head + len(between) - tail
    headers = (
        *(header for header in before.headers if header[0] < head),
        *((head + number, words) for number, words in _headers(edited, between)),
        *((moved + number, words) for number, words in before.headers if number >= tail),
    )
    return _parsed_text(text, (*before.lines[:head], *between, *before.lines[tail:]), headers)


def _parsed_text(text: str, lines: tuple[str, ...], headers: tuple[tuple[int, Words], ...]) -> ParsedText:
    end = len(lines) if lines[-1] else len(lines) - 1
    ends = [number for number, _ in headers[1:]] + [end]
    sections = (
        Section(words[0], " ".join(words[1:]), lines[number + 1 : end])
        for (number, words), end in zip(headers, ends, strict=False)
    )
    return ParsedText(text, lines, headers, Config(lines[: headers[0][0] if headers else end], tuple(sections)))


def _common_start(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many characters or lines are the same at the beginning; compares halves, as Python does it quickly."""
    same, longest = 0, min(len(one), len(other))
    while same < longest:
        middle = (same + longest + 1) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            longest = middle - 1
    return same


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many are the same at the end."""
    same, longest = 0, min(len(one), len(other))
    while same < longest:
        middle = (same + longest + 1) // 2
        if one[len(one) - middle : len(one) - same] == other[len(other) - middle : len(other) - same]:
            same = middle
        else:
            longest = middle - 1
    return same


def _headers(text: str, lines: Sequence[str]) -> Iterator[tuple[int, Words]]:
    for number in _header_candidates(text):
        words = _section_header(lines[number])
        if words:
            yield number, words


def _header_candidates(text: str) -> Iterator[int]:
    """Yield the numbers of lines that may start a section; a search by one expression, for 10,000 lines of members."""
    number, counted = 0, 0
    for found in _HEADER.finditer(text):
        number += text.count("\n", counted, found.start())
        counted = found.start()
        yield number


def _section_header(line: str) -> Words:
    """Return the words of a line that starts a section, else none.

    A word in column 0 starts one even if no HAProxy we know has such a section: its lines must not count as the
    previous section's.
    """
    text = line.lstrip(BLANKS)
    if not text or text[0] == "#":
        return ()
    words = split_words(text)
    kind = unquote(words[0])
    if kind in SECTIONS:
        return (kind, *words[1:])
    return words if len(text) == len(line) else ()


def render(config: Config) -> str:
    """Return the text of a model; parsing it again gives an equal model."""
    lines = list(config.preamble)
    for section in config.sections:
        lines.append(f"{section.kind} {section.name}" if section.name else section.kind)
        lines.extend(section.lines)
    return "".join(f"{line}\n" for line in lines)


def section_words(section: Section) -> Iterator[Words]:
    """Yield the words of each line that says something, in order."""
    for line in section.lines:
        words = split_words(line)
        if words:
            yield words


def changed_lines(old: Section, new: Section) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return both sections' lines without what they have in common at the beginning and at the end."""
    first, last = common_lines(old, new)
    return old.lines[first : len(old.lines) - last], new.lines[first : len(new.lines) - last]


def common_lines(old: Section, new: Section) -> tuple[int, int]:
    """Return how many lines two sections have in common at the beginning, and how many of the others at the end."""
    first = _common_start(old.lines, new.lines)
    return first, _common_end(old.lines[first:], new.lines[first:])


def frontends(config: Config) -> tuple[Frontend, ...]:
    """Return every frontend in order, the internal one of the Prometheus exporter included."""
    return tuple(_frontend(section) for section in config.sections if section.kind == "frontend")


def _frontend(section: Section) -> Frontend:
    mode = None
    binds = []
    for words in section_words(section):
        if words[0] == "mode" and mode is None and len(words) > 1:
            mode = words[1]
        elif words[0] == "bind" and len(words) > 1:
            address, _, port = words[1].rpartition(":")
            binds.append(Bind(address, port, words[2:]))
    return Frontend(section.name, mode, tuple(binds))


def serves_metrics(config: bytes) -> bool:
    """Tell whether a stored configuration has a PROMETHEUS listener, for which there is an exporter's frontend."""
    return _EXPORTER in b"\n" + config


def vips(config: Config) -> tuple[Address, ...]:
    """Return the addresses of all bind lines, each once, in order.

    Loopback is left out: it is the exporter's own frontend, not a VIP. An address we cannot read is skipped, so
    that it does not stop the advertisement of the others.
    """
    found: dict[Address, None] = {}
    for frontend in frontends(config):
        for bind in frontend.binds:
            try:
                address = ip_address(bind.address.removeprefix("[").removesuffix("]"))
            except ValueError:
                continue
            if not address.is_loopback:
                found[address] = None
    return tuple(found)


def stats_socket(config: Config) -> str | None:
    """Return the path of the first `stats socket` in `global`, None when there is none."""
    for section in config.sections:
        if section.kind != "global":
            continue
        for words in section_words(section):
            if words[:2] == ("stats", "socket") and len(words) > 2:
                return unquote(words[2]).removeprefix("unix@")
    return None


def referenced_files(config: Config) -> frozenset[str]:
    """Return the certificate, CA, CRL and crt-list files that bind and server lines name, as written.

    What a crt-list names in turn: `crt_list_files` of its content.
    """
    found: set[str] = set()
    for section in config.sections:
        for line in lines_with_files(section):
            words = split_words(line)
            if words and words[0] in _FILE_LINES:
                found.update(_file_arguments(words))
    return frozenset(found)


def lines_with_files(section: Section) -> Iterator[str]:
    """Yield the lines that may name a certificate, CA, CRL or crt-list file; most of 10,000 members name none."""
    return (line for line in section.lines if "crt" in line or "-file" in line)


def crt_lists(config: Config) -> frozenset[str]:
    """Return the crt-list files among the referenced ones."""
    found: set[str] = set()
    for frontend in frontends(config):
        for bind in frontend.binds:
            found.update(unquote(b) for a, b in pairwise(bind.options) if a == "crt-list")
    return frozenset(found)


def crt_list_files(text: str) -> tuple[str, ...]:
    r"""Return the files a crt-list names, in its order, each once: certificates, and CAs and CRLs in brackets.

    Source: HAProxy configuration manual, bind option "crt-list": `<crtfile> [\[<sslbindconf> ...\]] [filter ...]`.
    """
    found: dict[str, None] = {}
    for line in text.split("\n"):
        words = split_words(line.replace("[", " ").replace("]", " "))
        if words:
            found[unquote(words[0])] = None
            found.update(dict.fromkeys(_file_arguments(words)))
    return tuple(found)


def _file_arguments(words: Words) -> Iterator[str]:
    return (unquote(b) for a, b in pairwise(words) if a in FILE_OPTIONS)


def significant_lines(lines: Iterable[str]) -> list[Words]:
    """Return what lines say, as words, without `tune.ssl.cachesize`."""
    found = (split_words(line) for line in lines)
    return [words for words in found if words and words[0] != "tune.ssl.cachesize"]


def rewrite_for(text: str, version: Version) -> str:
    """Return an uploaded configuration as this HAProxy takes it; all but the lines it must not see stays to the byte.

    `group` goes always: the group is set by the image's second file. SAFE: only as the first word of a line inside
    `global`, since a path, a header or a log format may well contain " group x". Lines about `external-check` go
    before 1.6, which does not know them.

    Controllers up to 16 write two things that newer versions refuse. `option http-use-htx`, of PROMETHEUS listeners,
    goes from 2.5 on: it has had no effect since 2.1. The Host header that an HTTP/1.1 monitor hides in the version of
    `option httpchk` becomes a line of its own from 2.7 on, as controllers write it since.
    """
    if not any(word in text for word in _REWRITTEN):
        return text
    kept: list[str] = []
    kind = ""
    for line in text.split("\n"):
        header = _section_header(line)
        if header:
            kind = header[0]
        words = split_words(line) if any(word in line for word in _REWRITTEN) else ()
        if kind == "global" and words[:1] == ("group",):
            continue
        if version < _BEFORE_EXTERNAL_CHECK and "external-check" in words[:2]:
            continue
        if version >= _WITHOUT_HTX_OPTION and words[:2] == ("option", "http-use-htx"):
            continue
        hidden = _HIDDEN_HOST.match(line) if version >= _WITHOUT_HIDDEN_HEADERS else None
        kept += [hidden["check"], f"{hidden['margin']}http-check send hdr Host {hidden['host']}"] if hidden else [line]
    return "\n".join(kept)


def peer_name(amphora_id: str) -> str:
    """Return the name this amphora has in the `peers` section, 27 characters; passed to HAProxy as `-L`.

    Source: the contract's section 5: base64 of SHA-1 with `+` as `_` and `/` as `-`, a leading `-` as `x`, no `=`.
    """
    digest = sha1(amphora_id.encode("utf-8"), usedforsecurity=False).digest()
    name = b64encode(digest, altchars=b"_-").decode("ascii").rstrip("=")
    return f"x{name[1:]}" if name.startswith("-") else name
