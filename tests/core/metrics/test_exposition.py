"""HAProxy's exposition in Octavia's terms: renaming, labels, formats, and whatever else an exporter may send."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.metrics.exposition import LONGEST_LINE, Garbled, Translator

SAMPLE = re.compile(
    rb'octavia_[a-z_]+(\{[a-z_]+="([^"\\\n]|\\["\\n])*"(,[a-z_]+="([^"\\\n]|\\["\\n])*")*\})? [0-9.eE+-]+\n|'
    rb"# (HELP|TYPE) octavia_[a-z_]+ .+\n"
)
EXPOSITION = b"""# HELP haproxy_process_nbthread Number of started threads
# TYPE haproxy_process_nbthread gauge
haproxy_process_nbthread 2
# HELP haproxy_process_requests_total Total number of requests
# TYPE haproxy_process_requests_total counter
haproxy_process_requests_total 12
# HELP haproxy_frontend_bytes_in_total Bytes in
# TYPE haproxy_frontend_bytes_in_total counter
haproxy_frontend_bytes_in_total{proxy="prometheus-exporter-internal-endpoint"} 5
haproxy_frontend_bytes_in_total{proxy="l1"} 7
# HELP haproxy_server_status Current status
# TYPE haproxy_server_status gauge
haproxy_server_status{proxy="prometheus-exporter-internal",server="prometheus-internal",state="UP"} 1
haproxy_server_status{proxy="p1:l1",server="m1",state="UP"} 1
haproxy_server_status{proxy="p1:l1",server="m1",state="DOWN"} 0
# HELP haproxy_server_check_status Dropped
# TYPE haproxy_server_check_status gauge
haproxy_server_check_status{proxy="p1:l1",server="m1",state="HANA"} 0
"""
TEXT = b"""# HELP octavia_loadbalancer_requests_total Total number of requests
# TYPE octavia_loadbalancer_requests_total counter
octavia_loadbalancer_requests_total 12
# HELP octavia_listener_bytes_in_total Bytes in
# TYPE octavia_listener_bytes_in_total counter
octavia_listener_bytes_in_total{listener="l1"} 7
# HELP octavia_member_status 1 for the state the member is in, 0 for the others.
# TYPE octavia_member_status gauge
octavia_member_status{pool="p1:l1",member="m1",state="UP"} 1
octavia_member_status{pool="p1:l1",member="m1",state="DOWN"} 0
"""


def translate(data: bytes, *, openmetrics: bool = False, size: int = 1 << 20) -> bytes:
    translator = Translator(openmetrics=openmetrics)
    pieces = [translator.feed(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join((*pieces, translator.finish()))


def sample(line: bytes) -> bytes:
    """Return what becomes of one line among the samples of members' weights."""
    head = b"# TYPE haproxy_server_weight gauge\n"
    return translate(head + line + b'\nhaproxy_server_weight{proxy="p",server="m"} 1\n').split(b"\n", 2)[2]


GOOD = b'octavia_member_weight{pool="p",member="m"} 1\n'


def test_names_labels_and_own_help_in_the_order_they_came() -> None:
    assert translate(EXPOSITION) == TEXT


def test_openmetrics_names_a_counters_family_without_total() -> None:
    expected = TEXT
    for keyword in (b"HELP", b"TYPE"):
        for name in (b"octavia_loadbalancer_requests", b"octavia_listener_bytes_in"):
            expected = expected.replace(b"# %s %s_total" % (keyword, name), b"# %s %s" % (keyword, name))
    assert translate(EXPOSITION, openmetrics=True) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 100])
def test_however_it_is_cut_into_pieces(size: int) -> None:
    assert translate(EXPOSITION, size=size) == TEXT


@given(st.data())
def test_every_piece_is_whole_lines(data: st.DataObject) -> None:
    translator, rest, written = Translator(), EXPOSITION, b""
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        piece = translator.feed(rest[:size])
        assert piece == b"" or piece.endswith(b"\n")
        written, rest = written + piece, rest[size:]
    assert written + translator.finish() == TEXT


def test_what_is_not_passed_on_is_kept_when_asked_for() -> None:
    translator = Translator(keep_rejected=True)
    translator.feed(EXPOSITION)
    rejected = b"".join(translator.rejected)
    assert b"haproxy_process_nbthread 2\n" in rejected
    assert b'server="prometheus-internal"' in rejected
    assert b"requests" not in rejected
    silent = Translator()
    silent.feed(EXPOSITION)
    assert silent.rejected == []


def test_a_metric_is_known_by_its_whole_name() -> None:
    data = b"# TYPE haproxy_process_requests_total counter\n"
    data += b"haproxy_process_requests_total_more 3\nhaproxy_process_requests_total 4\n"
    data += b"# TYPE haproxy_process_requests_total_more counter\nhaproxy_process_requests_total_more 5\n"
    assert translate(data).count(b"\n") == 2
    assert translate(data).endswith(b"octavia_loadbalancer_requests_total 4\n")


@pytest.mark.parametrize(
    ("line", "passed"),
    [
        (
            rb'haproxy_server_weight{proxy="a\"b\\c\nd",server="m"} 3',
            rb'octavia_member_weight{pool="a\"b\\c\nd",member="m"} 3' + b"\n",
        ),
        (
            'haproxy_server_weight{proxy="ü",server="m"} 3'.encode(),
            'octavia_member_weight{pool="ü",member="m"} 3\n'.encode(),
        ),
        (b'haproxy_server_weight{proxy="p",server="m"} NaN', b'octavia_member_weight{pool="p",member="m"} NaN\n'),
        (
            b'haproxy_server_weight{proxy="p",server="m"} -1.5e+3',
            b'octavia_member_weight{pool="p",member="m"} -1.5e+3\n',
        ),
        (b'haproxy_server_weight{proxy="p",server="m"} ', b""),
        (b'haproxy_server_weight{proxy="p",server="m"} 1.2.3', b""),
        (b'haproxy_server_weight{proxy="p",server="m"} 1 2 3', b""),
        (b'haproxy_server_weight{proxy="p",server="m"}', b""),
        (b'haproxy_server_weight{proxy="p"} 1', b""),
        (b'haproxy_server_weight{proxy="p",server="m', b""),
        (b'haproxy_server_weight{proxy="p"x",server="m"} 1', b""),
        (rb'haproxy_server_weight{proxy="\x",server="m"} 1', b""),
        (b'haproxy_server_weight{proxy="\xff",server="m"} 1', b""),
        (b'haproxy_server_weight{proxy="\0",server="m"} 1', b""),
        (b'haproxy_server_weigh{proxy="p",server="m"} 1', b""),
        (b'haproxy_server_weights{proxy="p",server="m"} 1', b""),
        (b'x\rhaproxy_server_weight{proxy="p",server="m"} 1', b""),
        (b"", b""),
        (b"<html>", b""),
    ],
)
def test_one_line(line: bytes, passed: bytes) -> None:
    assert sample(line) == passed + GOOD


def test_a_family_that_comes_twice_is_taken_once() -> None:
    assert translate(EXPOSITION + EXPOSITION) == TEXT


def test_a_name_in_a_label_value_is_not_renamed() -> None:
    line = b'haproxy_server_weight{proxy="haproxy_server_weight{proxy=",server="m"} 1'
    assert sample(line) == b'octavia_member_weight{pool="haproxy_server_weight{proxy=",member="m"} 1\n' + GOOD


def test_help_is_escaped_as_each_format_wants_it() -> None:
    data = b'# HELP haproxy_process_requests_total a\\\\b \\n "c" \\d \xff\n'
    data += b"# TYPE haproxy_process_requests_total counter\n"
    assert translate(data).split(b"\n")[0].split(b" ", 3)[3] == b'a\\\\b \\n "c" \\\\d \xef\xbf\xbd'
    assert translate(data, openmetrics=True).split(b"\n")[0].split(b" ", 3)[3].count(b'\\"') == 2


def test_without_a_type_the_metric_is_of_none() -> None:
    data = (
        b"haproxy_process_requests_total 1\n# HELP haproxy_process_requests_total x\nhaproxy_process_requests_total 1\n"
    )
    assert b"# TYPE octavia_loadbalancer_requests_total untyped\n" in translate(data)
    assert b"# TYPE octavia_loadbalancer_requests_total unknown\n" in translate(data, openmetrics=True)


@pytest.mark.parametrize("data", [b"", b"<html>\n</html>\n", b"# TYPE haproxy_x gauge\nhaproxy_x 1\n", EXPOSITION[:-3]])
def test_what_is_no_whole_exposition_is_an_error_at_the_end(data: bytes) -> None:
    with pytest.raises(Garbled):
        translate(data)


def test_a_line_without_an_end_is_not_kept() -> None:
    translator = Translator()
    translator.feed(b"x" * LONGEST_LINE)
    with pytest.raises(Garbled):
        translator.feed(b"x" * (LONGEST_LINE + 1))


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(EXPOSITION.splitlines(keepends=True))), max_size=30))
def test_whatever_comes_only_sound_lines_go_out(parts: list[bytes]) -> None:
    translator = Translator()
    written = translator.feed(b"".join(parts))
    assert all(SAMPLE.fullmatch(line + b"\n") for line in written.split(b"\n")[:-1])
    assert written == b"" or written.endswith(b"\n")
