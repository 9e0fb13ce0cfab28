"""The configuration firewall: what controllers write passes, what reaches outside does not, however it is spelled."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.haproxy.firewall import Finding, KnownMembers, parse_allowance, review
from amphora_agent.core.haproxy.grammar import Belongings, Standing, first_words, split_address
from amphora_agent.core.settings import FirewallMode
from tests.core.haproxy.splitter import Rejected, split

SAMPLES = sorted((Path(__file__).parents[3] / "testbed" / "samples" / "haproxy").glob("*.cfg"))
TEXTS = {path.stem: path.read_text() for path in SAMPLES}
BASIC, TLS = TEXTS["01-http-basic"], TEXTS["04-terminated-https-sni"]
LB = "25744ac1-3e34-55a2-8441-e585e4cba268"
CERTS = f"/var/lib/octavia/certs/{LB}"
OWN = Belongings(
    stats_socket=f"/var/lib/octavia/{LB}.sock",
    servers_state=f"/var/lib/octavia/{LB}/servers-state",
    certificates=CERTS,
    ping_wrappers=frozenset({"/var/lib/octavia/ping-wrapper.sh"}),
)
# How many configurations `test_nothing_accepted_is_outside_the_grammar` makes; 100000 for the long form.
CONFIGURATIONS = int(os.environ.get("AMPHORA_CONFIGURATIONS", "2000"))
EDITS = 2000


def refused(text: str, mode: FirewallMode = FirewallMode.WARN, own: Belongings = OWN) -> tuple[Finding, ...]:
    return review(text.split("\n"), mode, own).refused


@pytest.mark.parametrize("name", TEXTS)
def test_what_controllers_write_is_known(name: str) -> None:
    found = review(TEXTS[name].split("\n"), FirewallMode.ENFORCE, OWN)
    assert found.refused == found.warned == ()


INTO_GLOBAL = [
    "lua-load /tmp/x.lua",
    "lua-load-per-thread /tmp/x.lua",
    "lua-prepend-path /tmp/?.lua",
    "tune.lua.maxmem 1",
    "user root",
    "user daemon",
    "uid 0",
    "gid 0",
    "group root extra",
    "chroot /tmp",
    "setenv PATH /tmp",
    "presetenv PATH /tmp",
    "resetenv PATH",
    "unsetenv PATH",
    "stats socket /tmp/admin.sock mode 0666 level admin",
    "stats socket 0.0.0.0:9999 level admin",
    "stats socket ipv4@127.0.0.1:9999 level admin",
    "stats socket /var/lib/octavia/{LB}.sock mode 0666 level admin",
    "stats socket /var/lib/octavia/{LB}.sock mode 0666 level user expose-fd listeners",
    "stats socket /var/lib/octavia/{LB}.sock mode 0666 level user",
    "stats timeout 2m",
    "stats bind-process all",
    "log 203.0.113.1:514 local0",
    "log /dev/log local0",
    "log stdout format raw local0",
    "log ring@x local0",
    "log /run/rsyslog/octavia/log local0 notice info",
    "pidfile /tmp/x",
    "ca-base /etc",
    "crt-base /etc",
    "server-state-base /etc",
    "server-state-file /etc/passwd",
    "external-check command /bin/sh",
    "external-check path /tmp",
    "insecure-setuid-wanted",
    "ssl-engine /tmp/evil.so",
    "ssl-provider evil",
    "ssl-provider-path /tmp",
    "ssl-dh-param-file /etc/shadow",
    "ssl-load-extra-files all",
    "ssl-passphrase-cmd /bin/sh",
    "issuers-chain-path /etc",
    "default-path origin /tmp",
    "h1-case-adjust-file /etc/shadow",
    "unix-bind prefix /tmp",
    "master-worker",
    "mworker-max-reloads 1",
    "localpeer x",
    "set-dumpable",
    "expose-experimental-directives",
    "httpclient.ssl.ca-file /etc/shadow",
    "51degrees-data-file /etc/shadow",
    "wurfl-data-file /etc/shadow",
    "deviceatlas-json-file /etc/shadow",
    "set-var proc.x str(a)",
    "setcap cap_net_raw",
    "trace http sink stdout",
    "stats-file /tmp/x",
    ".include /tmp/x",
    ".if defined(X)",
    '"lua-load" /tmp/x.lua',
    "\\x6cua-load /tmp/x.lua",
    "l'ua-load' /tmp/x.lua",
    'user "root"',
    "gr\\x6fup root",
    'maxconn "$HOME"',
    "maxconn 5\r lua-load /tmp/x",
    "maxconn 5\x0cx",
    'maxconn "5',
    "cluster-secret x",
    "node x",
]
INTO_FRONTEND = [
    "bind 203.0.113.9:80",
    "bind *:80",
    "bind :80",
    "bind 0.0.0.0:80",
    "bind [::]:80",
    "bind 127.0.0.1:9101",
    "bind unix@/tmp/x.sock",
    "bind /tmp/x.sock",
    "bind abns@x",
    "bind fd@3",
    "bind sockpair@3",
    "bind quic4@10.10.0.100:443",
    "bind 10.10.0.100:443,203.0.113.9:80",
    "bind 10.10.0.100:443-444",
    "bind 10.10.0.100:443 user root",
    "bind 10.10.0.100:443 namespace x",
    "bind 10.10.0.100:443 interface eth0",
    "bind 10.10.0.100:443 expose-fd listeners",
    "bind 10.10.0.100:443 level admin",
    "bind 10.10.0.100:443 transparent",
    "bind 10.10.0.100:443 ssl crt /etc/ssl/private/x.pem",
    "bind 10.10.0.100:443 ssl crt-list /etc/shadow",
    "bind 10.10.0.100:443 ssl crt @CERTS@/../other/x.pem",
    "bind 10.10.0.100:443 ssl crt @CERTS@-other/x.pem",
    "bind 10.10.0.100:443 ssl crt @CERTS@/.hidden.pem",
    "bind 10.10.0.100:443 ssl ca-file /etc/shadow",
    "bind 10.10.0.100:443 ssl ca-file @system-ca",
    "bind 10.10.0.100:443 ssl crl-file /etc/shadow",
    "bind 10.10.0.100:443 ssl ca-sign-file /tmp/x generate-certificates",
    "bind 10.10.0.100:443 ssl tls-ticket-keys /etc/shadow",
    "bind 10.10.0.100:443 ssl ciphers ALL crt /etc/shadow",
    "acl a path -f /etc/shadow",
    "acl a path -m beg -f /etc/shadow",
    "acl a path -i -M -f /etc/shadow",
    "acl a path,map(/etc/shadow) x",
    "acl a env(PATH) -m found",
    "acl a lua.x -m found",
    "acl a req.hdr(host),lua.x -m found",
    "http-request return status 200 content-type text/plain file /etc/shadow",
    "http-request return status 200 lf-file /etc/shadow",
    "http-request return status 200 errorfile /etc/shadow",
    "http-request deny errorfiles x",
    "http-request lua.x",
    "http-request use-service lua.x",
    "http-request use-service prometheus-exporter if { path /metrics }",
    "http-request set-header X %[env(PATH)]",
    "http-request set-header X %[req.hdr(host),map(/etc/shadow)]",
    "http-request set-header X %[path,debug(x,stderr)]",
    "http-request set-header X y if { path -f /etc/shadow }",
    "http-request set-map(/etc/x) a b",
    "http-request add-acl(/etc/x) a",
    "http-request do-resolve(txn.x,dns,ipv4) hdr(Host)",
    "http-request set-dst ipv4(203.0.113.1)",
    "http-request cache-use x",
    "http-response lua.x",
    "tcp-request content lua.x",
    "tcp-request content set-dst ipv4(203.0.113.1)",
    "errorfile 200 /etc/shadow",
    "errorfiles x",
    "errorloc 200 x y",
    "stats enable",
    "stats uri /admin",
    "stats admin if TRUE",
    "monitor-uri /x",
    "filter spoe engine x config /etc/shadow",
    "filter spoe engine x config x.conf",
    "filter trace",
    "filter opentracing config x",
    "use-fcgi-app x",
    "log 203.0.113.1:514 local0",
    "log-format %[env(HOME)]",
    "log-format %[lua.x]",
    "email-alert mailers x",
    "declare capture request len 3",
    "option external-check",
    "option transparent",
    "unique-id-format %[env(X)]",
    "redirect location %[env(X)]",
    "default-server check",
]
INTO_BACKEND = [
    "server x unix@/var/lib/octavia/agent/x/admin.sock",
    "server x /var/lib/octavia/agent/x/admin.sock",
    "server x abns@x",
    "server x fd@3",
    "server x example.org:80",
    "server x 10.0.0.1:80 source 10.0.0.2",
    "server x 10.0.0.1:80 source 0.0.0.0 usesrc clientip",
    "server x 10.0.0.1:80 namespace y",
    "server x 10.0.0.1:80 ssl crt /etc/shadow",
    "server x 10.0.0.1:80 ssl ca-file /etc/ssl/certs/ca.pem",
    "server x 10.0.0.1:80 ssl ca-file @system-ca",
    "server x 10.0.0.1:80 ssl ciphers A crl-file /etc/shadow",
    "server x 10.0.0.1:80 check addr unix@/x",
    "server x 10.0.0.1:80 check agent-addr 10.0.0.9",
    "server x 10.0.0.1:80 resolvers y",
    "server x 10.0.0.1:80 socks4 10.0.0.9:1080",
    "server x 10.0.0.1:80 cookie a\\ b/c",
    "server-template x 3 example.org:80",
    "default-server ssl crt /etc/shadow",
    "dispatch 10.0.0.1:80",
    "source 10.0.0.1",
    "external-check command /bin/sh",
    "external-check path /tmp",
    "load-server-state-from-file local",
    "server-state-file-name /etc/shadow",
    "http-check connect addr 10.0.0.9 port 80",
    "tcp-check connect addr 10.0.0.9",
    "stick-table type ip size 1k peers x write-to /x",
    "email-alert to x",
    "use-fcgi-app x",
    "http-check expect rstatus 200 %[env(X)]",
    "cookie x/y insert",
]
SECTIONS = [
    "program x",
    "mailers x",
    "ring x",
    "cache x",
    "http-errors x",
    "userlist x",
    "resolvers x",
    "listen x",
    "fcgi-app x",
    "crt-store x",
    "log-forward x",
    "peers x y",
    "defaults x from y",
    "frontend a/b",
    "\\x67lobal",
    "acme x",
    "traces",
]


def placed(line: str) -> str:
    return line.replace("{LB}", LB).replace("@CERTS@", CERTS)


def assert_refused_for_its_line(text: str, line: str) -> None:
    """Assert that exactly the line slipped in is refused, by number, even in mode `warn`, with a word of it."""
    (finding,) = refused(text)
    written = text.split("\n")[finding.number - 1]
    assert written.strip(" ") == line.strip(" ")
    assert finding.word in written or finding.word in split(written)
    assert f"line {finding.number}, " in str(finding)
    assert refused(text, FirewallMode.OFF) == ()


@pytest.mark.hardening("A")
@pytest.mark.parametrize("line", [placed(line) for line in INTO_GLOBAL])
def test_a_line_slipped_into_global_is_refused(line: str) -> None:
    assert_refused_for_its_line(TLS.replace("    daemon\n", f"    daemon\n    {line}\n"), line)


@pytest.mark.parametrize("line", [placed(line) for line in INTO_FRONTEND])
def test_a_line_slipped_into_a_frontend_is_refused(line: str) -> None:
    assert_refused_for_its_line(TLS.replace("    mode http\n", f"    mode http\n    {line}\n", 1), line)


@pytest.mark.parametrize("line", [placed(line) for line in INTO_BACKEND])
def test_a_line_slipped_into_a_backend_is_refused(line: str) -> None:
    assert_refused_for_its_line(f"{TLS.rstrip()}\n    {line}\n", line)


@pytest.mark.parametrize("line", SECTIONS)
@pytest.mark.parametrize("indentation", ["", "    ", "\t"])
def test_a_section_slipped_in_is_refused_with_its_lines(line: str, indentation: str) -> None:
    text = f"{TLS.rstrip()}\n{indentation}{line}\n    command /bin/sh\n"
    number = text.count("\n")
    assert [finding.number for finding in refused(text)] == [number - 1, number]


def test_words_slipped_into_a_tenants_value_are_refused() -> None:
    """CVE-2026-94572: blanks in `tls_ciphers` are enough, no newline is needed."""
    text = TLS.replace(" ciphers ECDHE", " ciphers ALL crt /etc/ssl/private/other.pem ciphers ECDHE")
    (finding,) = refused(text)
    assert finding.word == "/etc/ssl/private/other.pem"


@pytest.mark.hardening("D25")
@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029", "\x1c"])
def test_only_a_line_feed_ends_a_line(separator: str) -> None:
    text = BASIC.replace("# Configuration", f"# Configuration{separator}    lua-load /tmp/x.lua")
    assert bool(refused(text)) == (separator == "\x1c")  # a comment to HAProxy, but for a control character
    text = BASIC.replace("    daemon", f"    daemon{separator}lua-load /tmp/x.lua")
    assert [finding.number for finding in refused(text, FirewallMode.ENFORCE)] == [3]


HARMLESS = [
    ("    retries 3", "    option http-brand-new"),
    ("    retries 3", "    no option http-buffer-request"),
    ("    retries 3", "    timeout something-new 5s"),
    ("    retries 3", "    hash-type consistent"),
    ("    mode http", "    http-request set-header X-Request-Id %[uuid()]"),
    ("    mode http", "    http-response del-header Server"),
    ("    mode http", "    compression algo gzip"),
    ("    mode http", "    option httplog"),
    ("    mode http", "    acl x src 10.0.0.0/8"),
    ("    mode http", "    http-request deny deny_status 429 if x"),
    ("    daemon", "    tune.bufsize 32768"),
    ("    daemon", "    ssl-default-bind-ciphers ECDHE+AESGCM:!aNULL"),
    ("    balance roundrobin", "    option log-health-checks"),
    ("    balance roundrobin", "    server x 10.0.0.9:80 weight 1 slowstart 10s on-marked-down shutdown-sessions"),
]


@pytest.mark.parametrize(("after", "line"), HARMLESS)
def test_what_only_shapes_traffic_is_warned_about(after: str, line: str) -> None:
    found = review(BASIC.replace(f"{after}\n", f"{after}\n{line}\n", 1).split("\n"), FirewallMode.ENFORCE, OWN)
    assert found.refused == ()
    assert len(found.warned) <= 1
    assert all(finding.standing is Standing.HARMLESS for finding in found.warned)


def test_an_unknown_directive_in_plain_words_is_for_the_operator_to_decide() -> None:
    text = BASIC.replace("    mode http\n", "    mode http\n    brand-new on\n", 1)
    assert [finding.standing for finding in refused(text, FirewallMode.ENFORCE)] == [Standing.UNKNOWN]
    assert refused(text, FirewallMode.WARN) == ()
    assert len(review(text.split("\n"), FirewallMode.WARN, OWN).warned) == 1
    assert refused(text.replace("brand-new on", "brand-new /etc/shadow"), FirewallMode.WARN)


def test_an_address_on_a_members_network_is_not_bound() -> None:
    own = replace(OWN, elsewhere=frozenset({ip_address("10.20.0.5")}))
    assert refused(BASIC, own=own) == ()
    assert len(refused(BASIC.replace("bind 10.10.0.100", "bind 10.20.0.5"), own=own)) == 1


def test_a_second_port_of_a_listener_is_warned_about() -> None:
    text = BASIC.replace("bind 10.10.0.100:80", "bind 10.10.0.100:80\n    bind 10.10.0.100:81")
    found = review(text.split("\n"), FirewallMode.ENFORCE, OWN)
    assert found.refused == ()
    assert [finding.word for finding in found.warned] == ["10.10.0.100:81"]


@pytest.mark.parametrize(
    ("pattern", "line", "allowed"),
    [
        ("filter compression", "    filter   compression", True),
        ("filter compression", "filter compression x", False),
        ("http-request set-map(/etc/x) * *", "http-request set-map(/etc/x) a b", True),
        ("http-request set-map(/etc/x) * *", "http-request set-map(/etc/x) a b if c", False),
        ("acl * src *", "acl x src -f /etc/shadow", False),
        ("acl *y src /etc/*.lst", "acl xy src /etc/a.lst", True),
        ("errorfile a*a /x", "errorfile a /x", False),
        ("errorfile ...", "errorfile 503 /etc/haproxy/503.http", True),
        ("log 192.0.2.*:514 local0", "log 192.0.2.7:514 local0", True),
    ],
)
def test_the_operator_allows_lines(pattern: str, line: str, *, allowed: bool) -> None:
    allowance = parse_allowance(pattern)
    assert allowance is not None
    text = BASIC.replace("    mode http\n", f"    mode http\n{line}\n", 1)
    assert (review(text.split("\n"), FirewallMode.ENFORCE, OWN, [allowance]).refused == ()) == allowed


@pytest.mark.parametrize("pattern", ["", "*", "* x", "...", "lua* x", 'a "open', 'log "$HOME"'])
def test_a_pattern_that_says_too_little_allows_nothing(pattern: str) -> None:
    assert parse_allowance(pattern) is None


def test_an_allowed_line_may_still_not_depend_on_the_environment() -> None:
    allowance = parse_allowance("log * local0")
    assert allowance is not None
    text = BASIC.replace("    daemon\n", '    daemon\n    log "$TARGET" local0\n')
    assert len(review(text.split("\n"), FirewallMode.WARN, OWN, [allowance]).refused) == 1


HOSTILE = [
    "/etc/shadow", "unix@/tmp/x", "lua.x", "-f", "crt", "ca-file", "$HOME", '"$HOME"', "\\x6cua-load", "lua-load",
    "user", "root", "expose-fd", "listeners", "0.0.0.0:1", "source", "namespace", "%[env(HOME)]", "{", "}", "if", "#",
    '"', "'",
    "\\", "\r", "\x0b", "\0", "file", "errorfile", "admin", "0666", "*:80", "abns@x", "...", "../x.pem", "127.0.0.1:1",
    f"{CERTS}/../x.pem", f"{CERTS}/x.pem", "no", "-m", "str", "a\\ b", "10.10.0.100:80", "peers", "global", "program x",
]  # fmt: skip


def mutated(text: str, chance: random.Random) -> str:
    """Return a configuration with one to three words replaced, added, joined to hostile ones, or lines repeated."""
    lines = text.split("\n")
    for _ in range(chance.randint(1, 3)):
        number = chance.randrange(len(lines))
        words = lines[number].split(" ")
        at = chance.randrange(len(words))
        word = chance.choice(HOSTILE)
        match chance.randrange(5):
            case 0:
                words[at] = word
            case 1:
                words.insert(at, word)
            case 2:
                words[at] += word
            case 3:
                words[at] = word + words[at]
            case _:
                lines.insert(number, chance.choice(lines))
                continue
        lines[number] = " ".join(words)
    return "\n".join(lines)


def what_is_wrong(text: str) -> Iterator[str]:
    """Yield what no accepted configuration may hold, by a splitter and rules that are not the firewall's."""
    kind = ""
    for line in text.split("\n"):
        try:
            words = split(line)
        except Rejected:
            yield f"ambiguous: {line!r}"
            continue
        if not words:
            continue
        if words[0] in {"global", "defaults", "frontend", "backend", "peers"}:
            kind = words[0]
            continue
        if words[0] not in FIRST_WORDS.split():
            yield f"directive: {line!r}"
        yield from (f"{kind}: {what}: {line!r}" for what in what_is_wrong_in(kind, words))


FIRST_WORDS = """
acl balance bind capture compression cookie cpu-map daemon default_backend disabled external-check fullconn
group http-check http-request http-response http-reuse insecure-fork-wanted load-server-state-from-file log
log-format maxconn mode nbthread no option peer redirect retries server server-state-file stats stick
stick-table tcp-request timeout tune.ssl.cachesize use_backend user
"""


def what_is_wrong_in(kind: str, words: list[str]) -> Iterator[str]:  # noqa: C901, PLR0912  one case for each rule
    match words:
        case ["user", *rest] if rest != ["nobody"]:
            yield "user"
        case ["stats", *rest] if rest != ["socket", OWN.stats_socket, "mode", "0666", "level", "user"]:
            yield "socket"
        case ["log", target, *_] if target not in ("/run/rsyslog/octavia/log", "global"):
            yield "log target"
        case ["server-state-file", *rest] if rest != [OWN.servers_state]:
            yield "state file"
        case ["external-check", "command", *rest] if rest != ["/var/lib/octavia/ping-wrapper.sh"]:
            yield "program"
        case ["bind" | "server", *rest]:
            where = rest[0] if words[0] == "bind" else rest[1]
            if split_address(where) is None:
                yield "address"
            for option, value in pairwise(rest):
                if option in ("crt", "ca-file", "crl-file", "crt-list") and (
                    not value.startswith(f"{CERTS}/") or "/" in value.removeprefix(f"{CERTS}/")
                ):
                    yield "certificate"
                is_value = option in ("ciphers", "ciphersuites", "alpn", "check-alpn", "cookie")
                if value in ("source", "namespace", "expose-fd", "user", "uid", "level") and not is_value:
                    yield value
        case ["acl", _, _, *rest]:
            flags: list[str] = []
            for word in rest:
                if not word.startswith("-") and (not flags or flags[-1] != "-m"):
                    break
                flags.append(word)
            if "-f" in flags or "-M" in flags:
                yield "file"
    rules = ("http-request", "http-response", "http-after-response", "tcp-request", "tcp-response")
    script = words[0].startswith("lua") or (
        words[0] in rules and "".join(words[1:3]).startswith(("lua.", "use-servicelua."))
    )
    # Behind `if`, as in `acl`, a value is compared with and never evaluated.
    evaluated = () if words[0] == "acl" else itertools.takewhile(lambda word: word not in {"if", "unless"}, words)
    if script or any("%[" in word and "env(" in word for word in evaluated):
        yield "script or environment"
    if kind == "":
        yield "no section"


@pytest.mark.hardening("A")
def test_nothing_accepted_is_outside_the_grammar() -> None:
    seed = int(os.environ.get("AMPHORA_SEED", "1"))
    chance = random.Random(seed)  # noqa: S311  tries, not secrets
    names = [name for name in TEXTS if name != "22-large-50x20"]
    accepted = 0
    while accepted < CONFIGURATIONS:
        text = mutated(TEXTS[chance.choice(names)], chance)
        if not refused(text, FirewallMode.ENFORCE):
            accepted += 1
            assert list(what_is_wrong(text)) == [], f"seed {seed}"


@pytest.mark.hardening("A")
@given(data=st.data())
def test_each_word_may_turn_hostile(data: st.DataObject) -> None:
    text = TEXTS[data.draw(st.sampled_from([name for name in TEXTS if name != "22-large-50x20"]))]
    lines = text.split("\n")
    number = data.draw(st.sampled_from([n for n, line in enumerate(lines) if line.strip()]))
    words = lines[number].split(" ")
    at = data.draw(st.integers(0, len(words) - 1))
    hostile = data.draw(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12).filter(lambda word: "\n" not in word)))
    words[at] = data.draw(st.sampled_from([hostile, words[at] + hostile, f"{words[at]} {hostile}"]))
    lines[number] = " ".join(words)
    text = "\n".join(lines)
    if not refused(text, FirewallMode.ENFORCE):
        assert list(what_is_wrong(text)) == []


def test_the_planner_and_the_firewall_share_their_words() -> None:
    assert {"balance", "server", "option", "stick-table"} <= first_words("backend")
    assert "lua-load" not in first_words("global")


def test_what_was_known_before_changes_nothing_that_is_found() -> None:
    """Over random edits, with the belongings of two load balancers in turn."""
    chance = random.Random(os.environ["AMPHORA_SEED"])  # noqa: S311 - for tests
    other = replace(OWN, certificates="/var/lib/octavia/certs/other")
    places = ("    server a 10.0.0.1:80", "    server c 999.0.0.2:80", "\tserver a 10.0.0.1:80")
    options = ("", " weight 1", " check inter 5s", f" ssl crt {CERTS}/a.pem", " track x/a", " brand-new", " # remark")
    sections = ("backend x", "backend y", "frontend x", "listen x", "frontend a/b", "global", "traces")
    lines: list[str] = []
    members: KnownMembers | None = None
    findings = 0
    for _ in range(EDITS):
        at = chance.randint(0, len(lines))
        member = chance.choice(places) + chance.choice(options)
        lines[at : at + chance.randint(0, 2)] = [chance.choice((member, member, member, chance.choice(sections)))]
        own = chance.choice((OWN, OWN, OWN, other))
        whole = review(lines, FirewallMode.WARN, own)
        found = review(lines, FirewallMode.WARN, own, (), members)
        assert (found.refused, found.warned) == (whole.refused, whole.warned), lines
        assert whole.members.lines <= found.members.lines
        findings += len(found.refused) + len(found.warned)
        members = found.members
        if len(lines) > 40:
            lines = []
    assert findings > EDITS
