"""Every parser of `core` that reads what others wrote: how it is called, what may come of it, and something sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from amphora_agent.api.http.framing import Framing, Refused
from amphora_agent.core import ids, settings
from amphora_agent.core.document import reading, status, values
from amphora_agent.core.haproxy import config, firewall, process, runtime, servers_state, stats, version, words
from amphora_agent.core.haproxy.grammar import Belongings
from amphora_agent.core.haproxy.memory import worker_bytes
from amphora_agent.core.haproxy.server_line import parse_server
from amphora_agent.core.haproxy.steps import FileKind
from amphora_agent.core.haproxy.verification import FileQuestion, ListQuestion, ServersQuestion
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.heartbeat import counters, document, envelope
from amphora_agent.core.keepalived import ipvs, ipvs_messages, lvs_config, vrrp_config
from amphora_agent.core.keepalived.process import can_reload
from amphora_agent.core.metrics import latency, latency_source, record
from amphora_agent.core.metrics.certificate import not_after
from amphora_agent.core.metrics.exposition import Garbled, Translator
from amphora_agent.core.metrics.own import EVERY
from amphora_agent.core.metrics.request import BadRequest, parse_request
from amphora_agent.core.network import interface_file, nft_rules, nic_list, sysctls
from amphora_agent.core.records import applied_config, condemned, keepalived, removing, replaced_worker
from amphora_agent.errors import AgentError, InvalidRequest, MalformedData
from testbed.amphora import SAMPLES
from testbed.pki import Pki

Call = Callable[[bytes], object]
_MODERN = Version(3, 2)
_OWN = Belongings(
    stats_socket="/var/lib/octavia/a.sock",
    servers_state="/var/lib/octavia/a/servers-state",
    certificates="/var/lib/octavia/certs/a",
    ping_wrappers=frozenset({"/var/lib/octavia/ping-wrapper.sh"}),
)
_METRICS = frozenset(metric.name for metric in EVERY)
_RECORD = record.render(
    ('amphora_applies_total{decision="reload",reason="configuration"} 17\n', "amphora_beat_bytes 700\n")
)
_RECORDS = (record.render('octavia_member_weight{pool="udp:udp",member="m"} 5\n' for _ in range(20)),)
_EXPOSITION = """# TYPE haproxy_server_weight gauge
haproxy_server_weight{proxy="a:b",server="m"} 1
haproxy_server_weight{proxy="a:b",server="n"} 1
"""
_LATENCIES = (
    "amphora-latency-0.1: origin=dynstats.bucket 7f699c35-164b-5869-a43d-47618ff89fe2=17 \n"
    'amphora_latency_source{listener="7f699c35-164b-5869-a43d-47618ff89fe2",source="requests"} 1\n'
)
_KEY = ipvs.ServiceKey(17, ipvs.Endpoint(IPv4Address("10.10.0.100"), 53))


@dataclass(frozen=True, slots=True)
class Parser:
    """One parser; `errors` are all that it may raise. `seeds` are sound inputs, of which at least one is not empty."""

    name: str
    call: Call
    seeds: Sequence[bytes]
    errors: tuple[type[Exception], ...] = ()


def _text(parse: Callable[[str], object]) -> Call:
    """Have a parser of text called as the agent does it, with bytes that need not be UTF-8."""
    return lambda data: parse(data.decode("utf-8", "replace"))


def _samples(*patterns: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for pattern in patterns for path in sorted(SAMPLES.glob(pattern)))


def _read_configuration(text: str) -> None:
    """Do all that the agent does with an uploaded configuration, but what takes HAProxy."""
    for release in (Version(2, 6), _MODERN):
        config.rewrite_for(text, release)
    parsed = config.parse(text)
    assert config.parse(config.render(parsed)) == parsed, "parsing what was rendered gives the same"
    firewall.review(text.split("\n"), settings.FirewallMode.ENFORCE, _OWN)
    worker_bytes(parsed)
    config.vips(parsed), config.stats_socket(parsed), config.referenced_files(parsed), config.crt_lists(parsed)
    servers_state.filter_servers_state(_SERVERS_STATE, parsed)


def _read_servers_state(text: str) -> None:
    servers_state.parse_servers_state(text)
    servers_state.filter_servers_state(text, config.parse(_CONFIG))
    server = parse_server(words.split_words(_SERVER))
    assert server is not None
    names, changed = frozenset({server.name}), (server,)
    question = ServersQuestion(backend="b", names=names, changed=changed, removing=frozenset({"gone"}))
    question.mismatch(text)


def _read_line(text: str) -> None:
    """Read one line as HAProxy does, and as the firewall's exceptions are read."""
    firewall.parse_allowance(text)
    words.trouble(text)
    for word in words.split_words(text):
        words.unquote(word)


def _read_list(text: str) -> None:
    ListQuestion(crt_list="/list", loaded=("/a.pem",)).mismatch(text)
    FileQuestion(kind=FileKind.CERTIFICATE, loaded="/a", fingerprints=frozenset()).mismatch(text)


def _read_netlink(data: bytes) -> None:
    ipvs_messages.parse_service(data)
    for message in ipvs_messages.split(data):
        ipvs_messages.parse_family(message.payload)
        ipvs_messages.parse_service(message.payload)
        ipvs_messages.parse_destination(message.payload, _KEY)


def _frame(data: bytes) -> None:
    """Take a request as it comes from the network: byte by byte at first, then in pieces."""
    framing, buffer = Framing(), bytearray()
    for end in (*range(1, 16), *range(16, len(data) + 64, 64)):
        buffer += data[len(buffer) : end]
        if framing.is_complete(buffer):
            framing.delimited(buffer)
            return


def _read_destinations(text: str) -> None:
    document.parse_destinations(text.split("\n"))


def _split_scripts(text: str) -> None:
    nft_rules.split_scripts(text.split("\n"))


def _configured_names(text: str) -> None:
    for name in text.split("\n"):
        ids.is_id(name)
        ids.is_pem_name(name)
        document.is_amphora_id(name)


_CONFIG = (SAMPLES / "haproxy" / "01-http-basic.cfg").read_text()
_SERVER = next(line for line in _CONFIG.split("\n") if line.strip().startswith("server "))
_STATE = "3 b 1 m1 10.20.0.11 2 0 1 1 50 6 3 7 6 0 0 0 - 8080 - 0 0 - - 0"
_SERVERS_STATE = f"1\n# {' '.join(['x'] * 25)}\n{_STATE}\n"
_STAT = (
    "# pxname,svname,qcur,scur,bin,bout,ereq,stot,status,weight,\n"
    "l,FRONTEND,0,1,100,200,3,4,OPEN,,\n"
    'p:l,m1,0,0,0,0,,4,UP,0,\np:l,m2,0,0,0,0,,4,"DOWN ""1/2""\nnext",1,\np:l,BACKEND,0,0,0,0,,4,UP,2,\n\n'
)
_PROC = (
    "#<PID>          <type>          <reloads>       <uptime>        <version>\n"
    "21400           master          2 [failed: 1]   0d00h00m05s     2.6.12-1+deb12u2\n# workers\n"
    "21402           worker          0               0d00h00m05s     2.6.12-1+deb12u2\n# old workers\n"
    "21399           worker          1               0d00h01m05s     2.6.12-1+deb12u2\n# programs\n\n"
)
_NIC = {
    "name": "eth1",
    "if_type": "vip",
    "mtu": 1450,
    "addresses": [{"address": "10.10.0.11", "prefixlen": 24}, {"dhcp": True}],
    "routes": [{"dst": "0.0.0.0/0", "gateway": "10.10.0.1", "flags": ["onlink"], "table": 1}],
    "rules": [{"src": "10.10.0.100", "src_len": 32, "table": 1}],
    "scripts": {"up": [{"command": "/usr/local/bin/lvs-masquerade.sh add ipv4 eth1"}], "down": []},
}
_PROCESS = {"pid": 3, "started": 5}
_APPLIED = {
    "version": 1,
    "config": _CONFIG,
    "digests": {"/a.pem": "0" * 64},
    "worker": _PROCESS,
    "crt_lists": {"/list": "/a.pem\n"},
    "aliases": {},
    "commits": ["certificate"],
    "changed_at": 1.5,
    "is_unfinished": False,
}
_ID = "25744ac1-3e34-55a2-8441-e585e4cba268"
_DOCUMENT = {
    "loadbalancer": {"id": _ID, "topology": "SINGLE", "vips": [{"address": "10.10.0.100"}]},
    "listeners": [{"id": _ID, "protocol": "HTTP", "port": 80, "default_pool": _ID, "policies": []}],
    "pools": [{"id": _ID, "protocol": "HTTP", "members": [{"id": _ID, "address": "10.20.0.11", "port": 8080}]}],
}
_COUNTERS = {"l": {"bytes_in": 1, "bytes_out": 2, "request_errors": 0, "connections": 3, "workers": []}}
_HEAD = b"PUT /1.0/config HTTP/1.1\r\nHost: a\r\n"
_REQUESTS = (
    _HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\nTrailer: a\r\n\r\n",
)
_NETLINK = (
    ipvs_messages.put_destination(36, _KEY, _KEY.endpoint, (1, 0), 7, is_new=True),
    ipvs_messages.dump_destinations(36, _KEY, 7) + ipvs_messages.get_family(8),
)
_CRT_LIST = "/a/1.pem\n/a/2.pem [alpn h2 ca-file /a/ca.pem crl-file /a/crl.pem] *.example.com !www.example.com # x\n"


def _json(value: object) -> tuple[bytes]:
    return (json.dumps(value).encode(),)


def _lines(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


def _translate(data: bytes) -> None:
    """Read a scrape of HAProxy's exporter in one piece."""
    translator = Translator()
    translator.feed(data)
    translator.finish()


def _read_latencies(data: bytes) -> None:
    latency.histograms(data, latency.parse(data))


def _find_sources(text: str) -> None:
    list(latency_source.sources(config.parse(text), is_wanted=True))


PARSERS: Sequence[Parser] = (
    Parser("haproxy-config", _text(_read_configuration), _samples("haproxy/*.cfg")),
    Parser("line", _text(_read_line), _lines(_SERVER, 'a \'b c\' "d\\" e" f\\ g # h')),
    Parser("unquote", _text(words.unquote), _lines('a\'b c\'"d\\" e"f\\ g$X', _SERVER)),
    Parser("document", reading.read, _json(_DOCUMENT)),
    Parser("last-checks", status.last_checks, _lines(_STAT)),
    Parser("expression", _text(values.expression_fault), _lines("^/(a|b)+[c-e]*\\d{1,3}?$")),
    Parser("ciphers", _text(values.split_ciphers), _lines("ECDHE-RSA-AES128-GCM-SHA256:!aNULL:@STRENGTH")),
    Parser("crt-list", _text(config.crt_list_files), _lines(_CRT_LIST)),
    Parser("server-line", _text(lambda text: parse_server(words.split_words(text))), _lines(_SERVER)),
    Parser("servers-state", _text(_read_servers_state), _lines(_SERVERS_STATE, "1\n" + f"{_STATE}\n" * 20)),
    Parser("show-stat", stats.parse_stat, _lines(_STAT)),
    Parser("show-proc", _text(process.parse_processes), _lines(_PROC)),
    Parser("show-info", _text(process.parse_info), _lines("Name: HAProxy\nVersion: 3.2.4-1\nPid: 21402\n")),
    Parser(
        "show-ssl", _text(_read_list), _lines("# /list\n/a.pem\n", f"Status: Used\nSHA1 FingerPrint: {'0A' * 20}\n")
    ),
    Parser("version", _text(version.parse_version), _lines("HAProxy version 2.6.12-1+deb12u2 2025/04/16\n")),
    Parser("last-words", _text(process.last_words), _lines("[NOTICE] haproxy version is 2.6\n[ALERT] (3) : no\n" * 3)),
    Parser(
        "environment", _text(process.environment_peer), _lines("HAPROXY=/usr/sbin/haproxy\nOPTIONS=-f a\nPEER=abc\n")
    ),
    Parser("payload", runtime.payload_of, _lines("-----BEGIN CERTIFICATE-----\n\nQUJD\n"), (MalformedData,)),
    Parser("lvs-config", _text(lvs_config.parse), _samples("lvs/*.conf")),
    Parser("vrrp-config", _text(vrrp_config.vips), _samples("vrrp/*.conf")),
    Parser("keepalived-version", _text(can_reload), _lines("1:2.2.7-1+b2", "Keepalived v2.2.7 (01/16,2022)")),
    Parser("ipvs-messages", _read_netlink, _NETLINK, (MalformedData, InvalidRequest)),
    Parser("interface-file", interface_file.parse_interface, _json(_NIC), (MalformedData, InvalidRequest)),
    Parser("nic-list", nic_list.parse_plugged, _lines("fa:16:3e:00:00:01 eth1\nFA:16:3E:00:00:02 eth2\n")),
    Parser("scripts", _text(_split_scripts), _lines("/usr/local/bin/lvs-masquerade.sh add ipv4 eth1 sriov\nip link\n")),
    Parser(
        "sysctl", _text(lambda text: list(sysctls.parse_drop_in(text))), _lines("-net.ipv4.a=1\nnet/ipv4/b = 2\n#x\n")
    ),
    Parser("settings", _text(settings.parse_settings), _samples("agent/amphora-agent-*.conf"), (AgentError,)),
    Parser(
        "names", _text(_configured_names), _lines("badf474f-b45d-5d8b-80bb-35dbe5e8281e\nplugged_interfaces\na.pem\n")
    ),
    Parser("destinations", _text(_read_destinations), _lines("192.0.2.1:5555\n[2001:db8::1]:5555\n2001:db8::1:5555\n")),
    Parser("counters", counters.parse_counters, _json(_COUNTERS)),
    Parser(
        "envelope", lambda data: envelope.open_envelope(data, "key"), (envelope.seal(b'{"a":1}', "key"),), (AgentError,)
    ),
    Parser(
        "signed", lambda data: envelope.open_envelope(envelope.seal(data, "key"), "key"), _json(_NIC), (AgentError,)
    ),
    Parser("framing", _frame, _REQUESTS, (Refused,)),
    Parser("metrics-record", lambda data: record.parse(data, _METRICS), (_RECORD, *_RECORDS)),
    Parser("exposition", _translate, _lines(_EXPOSITION), (Garbled,)),
    Parser("latencies", _read_latencies, _lines(_LATENCIES)),
    Parser("latency-sources", _text(_find_sources), _samples("haproxy/0*.cfg")),
    Parser(
        "scrape-request", parse_request, _lines("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/plain"), (BadRequest,)
    ),
    Parser("certificate-end", not_after, (Pki.mint("a").server,)),
    Parser("applied-config", applied_config.decode, _json(_APPLIED)),
    Parser("condemned", condemned.decode, _json({"version": 2, "names": ["a.pem"]})),
    Parser("keepalived-record", keepalived.decode, _json({"version": 1, "config": "x", **_PROCESS})),
    Parser("removing", removing.decode, _json({"version": 2, "backends": {"b": {"m": 1.5}}})),
    Parser("replaced-worker", replaced_worker.decode, _json({"version": 1, "stat": _STAT, **_PROCESS})),
)
