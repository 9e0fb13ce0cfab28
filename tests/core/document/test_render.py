"""Rendering: golden files, the same bytes every time, one model before and after the text, and nobody's text in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.document.identity import Identity
from amphora_agent.core.document.model import Document
from amphora_agent.core.document.place import Place
from amphora_agent.core.document.reading import Reading, read_tree
from amphora_agent.core.document.render import Rendered, render
from amphora_agent.core.document.vrrp_config import is_vrrp_password
from amphora_agent.core.document.words import Data, line, plain, together
from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.server_line import parse_server
from amphora_agent.core.haproxy.words import split_words, unquote
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.keepalived import lvs_config, vrrp_config
from amphora_agent.core.paths import paths_of
from amphora_agent.core.settings import Settings
from amphora_agent.errors import InvalidRequest
from testbed.amphora import SAMPLES
from tests.core.document.documents import Json, documents

GOLDEN = Path(__file__).parent / "golden"
LB = LoadBalancerId("25744ac1-3e34-55a2-8441-e585e4cba268")
PLACE = Place(LB, paths_of(Settings()))


def document(tree: Json) -> Document:
    reading = read_tree(tree)
    assert isinstance(reading, Reading), reading
    return reading.document


def rendered(tree: Json) -> Rendered:
    return render(document(tree), PLACE, {"pair": "s3cr3t7"})


def texts(found: Rendered) -> dict[str, str]:
    """Return file name -> text of all that was rendered."""
    files = {f"lvs-{listener}.conf": text for listener, text in found.lvs.items()}
    files |= {f"crt-list-{Path(path).name}": text for path, text in found.crt_lists.items()}
    if found.haproxy is not None:
        files["haproxy.cfg"] = haproxy_config.render(found.haproxy)
    if found.vrrp is not None:
        files["vrrp.conf"] = found.vrrp
    return files


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_golden(name: str) -> None:
    files = texts(rendered(json.loads((GOLDEN / f"{name}.json").read_text())))
    told = "".join(f"=== {file}\n{text}" for file, text in sorted(files.items()))
    assert told == (GOLDEN / f"{name}.txt").read_text()


def test_a_pair_is_the_controllers_to_the_letter() -> None:
    tree = {
        "name": "pair",
        "vips": [
            {
                "address": "10.10.0.100",
                "subnet": "10.10.0.0/24",
                "gateway_ip": "10.10.0.1",
                "host_routes": [{"destination": "203.0.113.0/24", "nexthop": "10.10.0.7"}],
            },
            {"address": "10.11.0.100", "subnet": "10.11.0.0/24"},
            {"address": "2001:db8:10::100", "subnet": "2001:db8:10::/64", "gateway_ip": "2001:db8:10::1"},
        ],
        "vrrp": {"own": "10.10.0.11", "peer": "10.10.0.12", "auth": "pair"},
    }
    sample = (SAMPLES / "vrrp" / "04-dual-stack-additional-vips.conf").read_text()
    assert rendered(tree).vrrp == f"{sample}\n"


@given(documents())
def test_the_text_says_what_was_rendered(tree: Json) -> None:
    found = rendered(tree)
    if found.haproxy is None:
        return
    assert haproxy_config.parse(haproxy_config.render(found.haproxy)) == found.haproxy
    listeners = [each for each in document(tree).listeners if each.protocol not in {"UDP", "SCTP"}]
    expected = {PLACE.identity.listener(each.name) for each in listeners if each.admin_state_up}
    shown = {each.id for each in haproxy_config.frontends(found.haproxy) if "prometheus" not in each.id}
    assert shown == (expected if document(tree).admin_state_up else set())


@given(documents())
def test_the_same_document_gives_the_same_bytes(tree: Json) -> None:
    assert texts(rendered(tree)) == texts(rendered(json.loads(json.dumps(tree))))


marks = st.text("NAME", min_size=12, max_size=12)


@given(documents(), marks)
def test_no_name_is_in_any_text(tree: Json, mark: str) -> None:
    """Names are told apart from other text by a mark that nothing else has."""
    renamed = json.loads(json.dumps(tree))
    names = {each["name"] for kind in ("listeners", "pools") for each in renamed[kind]}
    new = {name: f"{mark}{number} {name}" for number, name in enumerate(sorted(names))}
    for listener in renamed["listeners"]:
        for policy in listener.get("l7policies", ()):
            policy["name"] = mark + policy["name"]
            if "redirect_pool" in policy:
                policy["redirect_pool"] = new[policy["redirect_pool"]]
        if "default_pool" in listener:
            listener["default_pool"] = new[listener["default_pool"]]
    for each in (*renamed["listeners"], *renamed["pools"]):
        each["name"] = new[each["name"]]
        each["description"] = mark
        for member in each.get("members", ()):
            member["name"] = mark + member["name"]
    renamed["name"] = mark
    files = texts(rendered(renamed))
    assert all(mark not in text for text in files.values())
    assert sorted(len(text.split("\n")) for text in files.values()) == sorted(
        len(text.split("\n")) for text in texts(rendered(tree)).values()
    )


@given(documents())
def test_keepalived_files_are_read_as_they_were_meant(tree: Json) -> None:
    found, meant = rendered(tree), document(tree)
    pools = {pool.name: pool for pool in meant.pools}
    for listener in meant.listeners:
        text = found.lvs.get(PLACE.identity.listener(listener.name))
        if text is None:
            continue
        config = lvs_config.parse(text)
        assert config.listener_id == PLACE.identity.listener(listener.name)
        assert config.is_listener_enabled == listener.admin_state_up
        pool = pools.get(listener.default_pool or "")
        if pool is None or not listener.admin_state_up or not meant.admin_state_up:
            assert not config.has_group
            continue
        members = [each for each in pool.members if pool.admin_state_up]
        wanted = {PLACE.identity.member(pool.name, each.name) for each in members if each.admin_state_up}
        assert {each.id for each in config.members if each.endpoint is not None} == wanted
        assert len(config.vips) == len(meant.vips)
    if found.vrrp is not None:
        assert {str(vip) for vip in vrrp_config.vips(found.vrrp)} == {vip.address for vip in meant.vips}


@given(documents())
def test_plain_members_can_be_changed_at_run_time(tree: Json) -> None:
    """The planner understands every `server` line that has only what the controller has words for."""
    found = rendered(tree)
    if found.haproxy is None:
        return
    for section in found.haproxy.sections:
        for words in haproxy_config.section_words(section):
            if words[0] == "server" and not {"slowstart", "observe"} & set(words) and "[" not in "".join(words):
                assert parse_server(words) is not None


@given(st.text().filter(lambda text: text.isprintable() and bool(text)))
def test_data_is_one_word_that_says_itself(text: str) -> None:
    words = split_words(line("acl", Data(text), "end"))
    assert len(words) == 3
    assert unquote(words[1]) == text


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "a#", '"', "'", "\\", "$x", "ü", "a\0"])
def test_a_plain_word_that_needs_care_is_a_defect(text: str) -> None:
    with pytest.raises(ValueError, match="plain word"):
        line("acl", text)


@pytest.mark.parametrize("text", ["", " a", "a ", "a  b", "a\nb", "a b#", "a\\ b", "ü", "a\tb"])
def test_plain_words_that_need_care_are_a_defect(text: str) -> None:
    with pytest.raises(ValueError, match="plain words"):
        plain(text)


def test_words_that_lines_share_are_the_words_themselves() -> None:
    assert line("server", plain("a b:1"), *together(("crt", Data("x y")))) == line(
        "server", "a", "b:1", "crt", Data("x y")
    )
    assert together(()) == ()


@pytest.mark.parametrize("text", ["", "a\nb", "\0", "\r", "\x7f", "\u2028"])
def test_data_that_no_word_can_say_is_a_defect(text: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        line("acl", Data(text))


def test_ids_are_made_of_whole_paths() -> None:
    one, other = Identity(LB), Identity(LoadBalancerId("other"))
    assert one.pool("a") == Identity(LB).pool("a")
    assert len({one.pool("a"), one.listener("a"), one.secret("a"), other.pool("a"), one.member("a", "a")}) == 5


@pytest.mark.parametrize("password", ["", "nine chars", "a b", "a}", "a!", "a#", '"', "$x", "a\n", "é"])
def test_a_password_that_keepalived_cannot_take_is_refused_unsaid(password: str) -> None:
    assert not is_vrrp_password(password)
    tree = json.loads((GOLDEN / "shop.json").read_text())
    with pytest.raises(InvalidRequest) as refused:
        render(document(tree), PLACE, {"pair": password})
    assert not password or password not in f"{refused.value}{refused.value.detail}"
