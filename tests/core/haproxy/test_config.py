"""The configuration model: total on any text, faithful to the controller's samples."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.config import (
    Bind,
    Config,
    Section,
    changed_lines,
    crt_list_files,
    crt_lists,
    frontends,
    parse,
    peer_name,
    referenced_files,
    rewrite_for,
    section_words,
    stats_socket,
    vips,
)
from amphora_agent.core.haproxy.version import Version, parse_version
from amphora_agent.core.haproxy.words import split_words, unquote

SAMPLES = Path(__file__).parents[3] / "testbed" / "samples" / "haproxy"
SAMPLE_FILES = sorted(SAMPLES.glob("*.cfg"))
LB = "25744ac1-3e34-55a2-8441-e585e4cba268"
LISTENER = "7f699c35-164b-5869-a43d-47618ff89fe2"
CERTS = f"/var/lib/octavia/certs/{LB}"
NOW = Version(2, 6)

lines_of_haproxy = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(
            [
                "global",
                "frontend a",
                " frontend b # c",
                '"frontend" c',
                "backend x:y",
                "    server s 10.0.0.1:80 weight 1",
                "    bind 10.0.0.1:80 ssl crt-list /a/b.pem",
                "    group nogroup",
                "log-backend later",
                '    http-request deny if { path "/a b" }',
                "    acl x hdr(a) two\\ words\\",
                "",
                "\t",
                "# comment",
            ]
        ),
    )
).map("\n".join)


def read(name: str) -> Config:
    return parse(next(SAMPLES.glob(f"{name}-*.cfg")).read_text())


@given(lines_of_haproxy)
@example("\n")
@example("a\n\n")
@example('"x y')
@example('  "frontend" x\n')
def test_parsing_what_was_rendered_gives_the_same_model(text: str) -> None:
    config = parse(text)
    assert parse(haproxy_config.render(config)) == config


@given(st.one_of(lines_of_haproxy, st.text(alphabet="\n \t#\"'\\\x00\x1c\u2028globa-cktrs")))
@example(' gl"obal"\n\tbackend\\\n cache#x\n caches\n crt-list-x\n\x0b"frontend" a')
def test_sections_are_found_as_if_each_line_was_looked_at(text: str) -> None:
    lines = text.split("\n")
    headers = [found for line in lines if (found := haproxy_config._section_header(line))]
    sections = parse(text).sections
    assert [(section.kind, section.name) for section in sections] == [(h[0], " ".join(h[1:])) for h in headers]


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_changed_lines_are_the_middle(before: list[str], after: list[str]) -> None:
    old, new = Section("backend", "b", tuple(before)), Section("backend", "b", tuple(after))
    was, now = changed_lines(old, new)
    if before == after:
        assert was == now == ()
        return
    ends = len(before) - len(was)
    assert len(after) - len(now) == ends
    common = next(n for n in range(ends + 1) if list(was) == before[n : n + len(was)])
    assert any(
        before[:n] == after[:n]
        and before[n : n + len(was)] == list(was)
        and after[n : n + len(now)] == list(now)
        and before[n + len(was) :] == after[n + len(now) :]
        for n in range(common, ends + 1)
    )


@given(lines_of_haproxy)
def test_every_word_of_the_text_is_in_the_model(text: str) -> None:
    config = parse(text)
    lines = [*config.preamble]
    for section in config.sections:
        lines += [f"{section.kind} {section.name}" if section.name else section.kind, *section.lines]
    expected = [words for line in text.split("\n") if (words := split_words(line))]
    kept = [words for line in lines if (words := split_words(line))]
    assert [[unquote(w) for w in words] for words in kept] == [[unquote(w) for w in words] for words in expected]


@pytest.mark.parametrize("path", SAMPLE_FILES, ids=lambda path: path.stem)
def test_a_sample_is_rendered_as_it_was_read(path: Path) -> None:
    text = path.read_text()
    assert haproxy_config.render(parse(text)) == text
    assert {section.kind for section in parse(text).sections} <= {"global", "defaults", "peers", "frontend", "backend"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ()),
        ("  # only a comment", ()),
        ("\tmode   http\r", ("mode", "http")),
        ("maxconn 5#six", ("maxconn", "5")),
        ('set-header X "a # b"  # c', ("set-header", "X", '"a # b"')),
        ("acl a req.hdr(X) -m sub two\\ words\\\\x", ("acl", "a", "req.hdr(X)", "-m", "sub", "two\\ words\\\\x")),
        ("a '#' \\# b", ("a", "'#'", "\\#", "b")),
        ('a "b\\" c" d', ("a", '"b\\" c"', "d")),
        ('a "never closed # b', ("a", '"never closed # b')),
        ("a\u00a0b \x85c", ("a\u00a0b", "\x85c")),
    ],
)
def test_words_are_split_as_haproxy_splits_them(line: str, words: tuple[str, ...]) -> None:
    assert split_words(line) == words


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain", "plain"),
        ('"a b"', "a b"),
        ("a\\ b", "a b"),
        ("'a\\ b'", "a\\ b"),
        ('a\\"b', 'a"b'),
        ('"a\\"b"', 'a"b'),
        (r"it\'s", "it's"),
        (r"\'a'b'", "'ab"),
        (r"\\'a\'", "\\a\\"),
        ("'\"'\"'\"", "\"'"),
    ],
)
def test_unquote(word: str, text: str) -> None:
    assert unquote(word) == text


def test_frontend_of_a_plain_listener() -> None:
    (frontend,) = frontends(read("01"))
    assert (frontend.id, frontend.mode) == (LISTENER, "http")
    assert frontend.binds == (Bind("10.10.0.100", "80", ()),)
    assert not frontend.is_terminated_https


def test_terminated_https_is_known_by_the_crt_list_after_the_address() -> None:
    assert frontends(read("04"))[0].is_terminated_https
    assert frontends(parse("frontend a\n bind 1.2.3.4:443    ssl   crt-list  x.pem\n"))[0].is_terminated_https
    assert not frontends(parse("frontend a\n bind 1.2.3.4:443 alpn h2 ssl crt-list x.pem\n"))[0].is_terminated_https
    assert not frontends(read("03"))[0].is_terminated_https


def test_the_internal_frontend_of_the_exporter_is_a_frontend_but_its_address_is_no_vip() -> None:
    config = read("15")
    assert [frontend.id for frontend in frontends(config)] == [
        "prometheus-exporter-internal-endpoint",
        LISTENER,
        "77a0fc79-db97-5917-afe4-9d7cbdecf397",
    ]
    assert vips(config) == (ip_address("10.10.0.100"),)


def test_vips_of_a_dual_stack_load_balancer() -> None:
    assert vips(read("19")) == tuple(map(ip_address, ("10.10.0.100", "10.11.0.100", "2001:db8:10::100")))


def test_an_address_that_cannot_be_read_does_not_hide_the_others() -> None:
    text = "frontend a\n bind nonsense\n bind *:80\n bind\n bind ::1:9\n bind [2001:db8::5]:80\n bind 10.0.0.1:80\n"
    assert vips(parse(text)) == (ip_address("2001:db8::5"), ip_address("10.0.0.1"))


def test_a_frontend_without_mode() -> None:
    assert frontends(parse("frontend a\n bind 10.0.0.1:80\n"))[0].mode is None


@pytest.mark.parametrize("path", SAMPLE_FILES, ids=lambda path: path.stem)
def test_stats_socket_of_every_sample(path: Path) -> None:
    assert stats_socket(parse(path.read_text())) == f"/var/lib/octavia/{LB}.sock"


def test_no_stats_socket() -> None:
    assert stats_socket(parse("frontend a\n stats socket /x\n")) is None


def test_referenced_files() -> None:
    assert referenced_files(read("01")) == frozenset()
    assert referenced_files(read("04")) == {f"{CERTS}/{LISTENER}.pem"}
    assert crt_lists(read("20")) == {f"{CERTS}/{LISTENER}.pem"}
    assert referenced_files(read("20")) == {
        f"{CERTS}/{name}.pem" for name in (LISTENER, "aaaa" + "a" * 36, "bbbb" + "b" * 36)
    }
    assert referenced_files(read("21")) == {f"{CERTS}/{n}.pem" for n in (LISTENER, "c" * 40, "d" * 40, "e" * 40)}


def test_a_file_is_referenced_only_by_lines_that_load_it() -> None:
    config = parse("frontend a\n acl x hdr(y) crt /etc/shadow\n bind 1.2.3.4:1 ssl crt '/a b.pem' # crt /c\n")
    assert referenced_files(config) == {"/a b.pem"}


def test_crt_list_files() -> None:
    text = (SAMPLES / "04-terminated-https-sni.crt-list.txt").read_text()
    assert crt_list_files(text) == tuple(text.split())
    assert crt_list_files("# c\n\n/a.pem [alpn h2 ca-file /ca.pem crl-file /r.pem] *.org !x\n/b.pem\n/a.pem z") == (
        "/a.pem",
        "/ca.pem",
        "/r.pem",
        "/b.pem",
    )


def test_group_is_removed_only_as_the_first_word_in_global() -> None:
    text = (
        "# group x\nglobal\n    group nogroup\n\tgroup  haproxy # c\n    log-tag a group b\n    setenv g group\n"
        "frontend f\n    log-format a\\ group b\n    acl group hdr(group) group x\n    group no\n"
    )
    assert rewrite_for(text, NOW) == text.replace("    group nogroup\n\tgroup  haproxy # c\n", "")


def test_external_check_is_removed_only_before_it_existed() -> None:
    text = "global\n  external-check\n  maxconn 5\nbackend b\n  option external-check\n  external-check command /x\n"
    assert rewrite_for(text, NOW) == text
    assert rewrite_for(text, Version(1, 6)) == text
    assert rewrite_for(text, Version(1, 5, 18)) == "global\n  maxconn 5\nbackend b\n"


def test_the_htx_option_is_removed_only_where_it_is_unknown() -> None:
    """What controllers up to 16 write for a PROMETHEUS listener."""
    text = "frontend f\n    mode http\n    option http-use-htx\n    log-format option\\ http-use-htx\n    bind :1\n"
    for version in (Version(1, 9), Version(2, 4, 22)):
        assert rewrite_for(text, version) == text
    for version in (Version(2, 5), Version(2, 6, 12), Version(3, 2, 26)):
        assert rewrite_for(text, version) == text.replace("    option http-use-htx\n", "")


def test_a_monitors_host_gets_a_line_of_its_own_only_where_it_may_not_be_hidden() -> None:
    """What controllers up to 16 write for an HTTP/1.1 monitor with a domain name."""
    before = "backend b\n    option httpchk GET /a\\ b HTTP/1.1\\r\\nHost:\\ h.example.org\n    balance roundrobin\n"
    assert rewrite_for(before, Version(2, 6, 12)) == before
    for version in (Version(2, 7), Version(3, 2, 26)):
        assert rewrite_for(before, version) == (
            "backend b\n    option httpchk GET /a\\ b HTTP/1.1\n    http-check send hdr Host h.example.org\n"
            "    balance roundrobin\n"
        )


@pytest.mark.parametrize(
    "line",
    [
        "option httpchk GET / HTTP/1.1",
        "option httpchk GET / HTTP/1.1\\r\\nHost:\\ a\\r\\nX:\\ b",
        "option httpchk GET / HTTP/1.1\\r\\nHost:\\ a b",
        "option httpchk GET / HTTP/1.1\\r\\nHost:\\ 'a",
        "option httpchk GET / HTTP/1.1\\r\\nX:\\ a",
        "# option httpchk GET / HTTP/1.1\\r\\nHost:\\ a",
    ],
)
def test_a_check_that_is_not_quite_that_is_left_to_haproxy(line: str) -> None:
    assert rewrite_for(f"backend b\n    {line}\n", Version(3, 2, 26)) == f"backend b\n    {line}\n"


@pytest.mark.parametrize("path", SAMPLE_FILES, ids=lambda path: path.stem)
def test_rewriting_leaves_the_samples_alone(path: Path) -> None:
    text = path.read_text()
    assert rewrite_for(text, NOW) == text


@given(lines_of_haproxy)
def test_rewriting_twice_is_rewriting_once(text: str) -> None:
    once = rewrite_for(text, NOW)
    assert rewrite_for(once, NOW) == once
    for section in parse(once).sections:
        if section.kind == "global":
            assert all(words[0] != "group" for words in section_words(section))


@pytest.mark.parametrize(
    ("amphora_id", "name"),
    [
        (LB, "stBivuwX_t6gjuyzUjnQXG0bLHg"),
        ("00000000-0000-4000-8000-000000000010", "uZTS0_jC16I8SDVVgZk3e-t2Iuk"),
        ("00000000-0000-4000-8000-000000000017", "xS2sYRNU9p-tCjP8uBgqQ_wv0NU"),
    ],
)
def test_peer_name_vectors(amphora_id: str, name: str) -> None:
    assert peer_name(amphora_id) == name


@given(st.text())
def test_a_peer_name_is_never_taken_for_an_option(amphora_id: str) -> None:
    name = peer_name(amphora_id)
    assert len(name) == 27
    assert name[0] != "-"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", Version(2, 6, 12)),
        ("Name: HAProxy\nVersion: 3.0.11-1+deb13u4\nRelease_date: x", Version(3, 0, 11)),
        ("HA-Proxy version 1.5.18 2016/05/10", Version(1, 5, 18)),
        ("HAProxy version 3.3-dev2-abc 2025/01/01", Version(3, 3, 0)),
        ("no such thing", None),
    ],
)
def test_version(text: str, version: Version | None) -> None:
    assert parse_version(text) == version


def test_a_version_reads_as_haproxy_wrote_it() -> None:
    assert str(parse_version("HAProxy version 2.6.12-1+deb12u4 2026/10/17")) == "2.6.12-1+deb12u4"
    assert str(Version(3, 0, 1)) == "3.0.1"


def test_lines_of_an_unknown_section_are_not_the_previous_sections() -> None:
    config = parse("backend b\n    server a 1.2.3.4:5\nlog-backend c\n    server d 1.2.3.4:5\n")
    assert config.sections == (
        Section("backend", "b", ("    server a 1.2.3.4:5",)),
        Section("log-backend", "c", ("    server d 1.2.3.4:5",)),
    )
