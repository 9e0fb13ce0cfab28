"""From bytes to a document: every problem of shape with its place, what a cloud reports passed over, canonical JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.document.model import DEFAULT_CIPHERS, Document, TlsVersion
from amphora_agent.core.document.problem import Problem
from amphora_agent.core.document.reading import Reading, encode, read
from tests.core.document.documents import Json, documents


def good() -> Json:
    """Return the smallest load balancer that serves."""
    return {
        "name": "shop",
        "vips": [{"address": "10.10.0.100", "subnet": "10.10.0.0/24"}],
        "listeners": [{"name": "plain", "protocol": "HTTP", "protocol_port": 80, "default_pool": "web"}],
        "pools": [
            {
                "name": "web",
                "protocol": "HTTP",
                "lb_algorithm": "ROUND_ROBIN",
                "members": [{"name": "w1", "address": "192.0.2.11", "protocol_port": 8080}],
            }
        ],
    }


def problems(body: Json | bytes) -> tuple[Problem, ...]:
    found = read(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert not isinstance(found, Reading)
    return found


def document(body: Json) -> Document:
    found = read(json.dumps(body).encode())
    assert isinstance(found, Reading), found
    return found.document


def test_defaults_are_octavias() -> None:
    listener = document(good()).listeners[0]
    assert (listener.timeout_client_data, listener.timeout_member_connect) == (50000, 5000)
    assert (listener.tls_versions, listener.tls_ciphers) == ((TlsVersion.TLSV1_2, TlsVersion.TLSV1_3), DEFAULT_CIPHERS)
    assert document(good()).pools[0].members[0].weight == 1


def test_every_problem_of_shape_is_found_at_once() -> None:
    tree = good()
    tree["listeners"][0] |= {"protocol_port": 70000, "defualt_pool": "web", "tls_versions": ["TLSv9"]}
    tree["pools"][0]["members"][0] |= {"weight": "1", "weigth": 2}
    del tree["pools"][0]["lb_algorithm"]
    tree["vrrp"] = []
    found = {(each.pointer, each.where, each.detail, each.expected) for each in problems(tree)}
    assert found == {
        ("/listeners/0/protocol_port", "listener plain", "got 70000", "an integer <= 65535"),
        ("/listeners/0/defualt_pool", "listener plain", "there is no field 'defualt_pool'", "'default_pool'"),
        (
            "/listeners/0/tls_versions/0",
            "listener plain, tls_versions number 1",
            "got 'TLSv9'",
            "one of SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3",
        ),
        ("/pools/0/members/0/weight", "pool web, member w1", "got '1'", "an integer"),
        ("/pools/0/members/0/weigth", "pool web, member w1", "there is no field 'weigth'", "'weight'"),
        ("/pools/0", "pool web", "the field 'lb_algorithm' is missing", "'lb_algorithm'"),
        ("/vrrp", "the document", "got []", "object or null"),
    }


def test_a_key_that_is_there_twice_is_a_problem() -> None:
    body = json.dumps(good()).replace('"protocol_port": 80,', '"protocol_port": 80, "protocol_port": 81,')
    (found,) = problems(body.encode())
    assert (found.pointer, found.where) == ("/listeners/0/protocol_port", "listener plain")
    assert "twice" in found.detail


def test_what_a_cloud_reports_is_passed_over_and_listed() -> None:
    tree = good() | {"id": "1", "project_id": "p", "provisioning_status": "ACTIVE", "vip_subnet_id": "s"}
    tree["listeners"][0] |= {"operating_status": "ONLINE", "default_pool_id": None}
    tree["pools"][0]["members"][0]["subnet_id"] = "m"
    found = read(json.dumps(tree).encode())
    assert isinstance(found, Reading)
    assert found.document == document(good())
    assert sorted(found.ignored) == [
        "/id",
        "/listeners/0/default_pool_id",
        "/listeners/0/operating_status",
        "/pools/0/members/0/subnet_id",
        "/project_id",
        "/provisioning_status",
        "/vip_subnet_id",
    ]


def test_a_reference_by_id_is_not_lost_in_silence() -> None:
    tree = good()
    tree["listeners"][0]["default_pool_id"] = "d50b8050-f704-5b6e-9723-8d8dbcb5e65a"
    (found,) = problems(tree)
    assert found.expected == "'default_pool' with the name of a pool"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\nserver evil 192.0.2.1:80"),
        ("name", "a\n"),
        ("name", "\0"),
        ("name", ""),
        ("name", "a/b"),
        # Clients take these out of a path before they ask.
        ("name", "."),
        ("name", ".."),
        ("name", "x" * 100_000),
        ("default_pool", "web\r"),
        ("default_tls_container_ref", "../../etc/shadow"),
        ("tls_ciphers", "AES128-SHA\n"),
        ("tls_ciphers", "AES128-SHA ssl-min-ver"),
    ],
)
def test_texts_that_no_configuration_can_hold_are_refused_by_name(field: str, value: str) -> None:
    tree = good()
    tree["listeners"][0][field] = value
    (found,) = problems(tree)
    assert found.pointer == f"/listeners/0/{field}"
    assert len(found.detail) < 100


@pytest.mark.parametrize("path", ["/a b", "/a\n", "a", "/%zz", "/\x00", "/ü", '/"', "/{}", "/a\\"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    tree = good()
    tree["pools"][0]["healthmonitor"] = {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2, "url_path": path}
    (found,) = problems(tree)
    assert found.where == "pool web, health monitor"
    assert found.expected == "a path that begins with '/', percent-encoded"


@given(st.one_of(st.binary(max_size=60), st.just(b"[" * 100_000), st.just(b'{"name":"\\ud800"}'), st.just(b"[NaN]")))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    assert isinstance(read(body), tuple)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["name", "vips", "listeners", "pools", "members", "rules", "vrrp", "extra", "healthmonitor", "id", "x"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)


@given(json_values)
def test_whatever_is_no_document_has_a_problem(value: object) -> None:
    body = json.dumps(value, ensure_ascii=True).encode()
    found = read(body)
    assert isinstance(found, Reading) or found


@given(documents(), st.data())
def test_a_value_of_a_wrong_type_anywhere_is_found_there(tree: Json, data: st.DataObject) -> None:
    """What msgspec refuses, the search for all problems finds too."""
    listener = data.draw(st.sampled_from(tree["listeners"] or [tree]))
    field = data.draw(st.sampled_from(sorted(listener)))
    listener[field] = {"no": ["such", {"thing": 1}]}
    found = read(json.dumps(tree).encode())
    assert not isinstance(found, Reading)
    assert found
    assert all(f"/{field}" in each.pointer for each in found)


@given(documents())
def test_reading_what_was_encoded_gives_the_document(tree: Json) -> None:
    first = document(tree)
    assert document(json.loads(encode(first))) == first
    assert encode(document(json.loads(encode(first)))) == encode(first)
