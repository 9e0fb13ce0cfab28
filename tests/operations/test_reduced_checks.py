"""Changes of members are checked alone at first, and with the rest soon after; nothing is started from less."""

from __future__ import annotations

import pytest

from amphora_agent.core.settings import Settings
from amphora_agent.errors import HostFailure, InvalidRequest
from amphora_agent.host import files
from amphora_agent.operations.actions import Action
from amphora_agent.operations.haproxy import checks
from testbed.operations import Workbench
from testbed.waiting import wait_for

BASIC = "haproxy/01-http-basic.cfg"


def with_member(text: str, number: int) -> str:
    """Return a configuration with one more member after the last."""
    lines = text.split("\n")
    last = max(at for at, line in enumerate(lines) if line.lstrip().startswith("server "))
    words = lines[last].split()
    added = f"    server 00000000-0000-4000-8000-{number:012} 10.20.1.{number}:80 {' '.join(words[3:])}"
    return "\n".join([*lines[: last + 1], added, *lines[last + 1 :]])


@pytest.fixture
def text(bench: Workbench) -> str:
    """A configuration that HAProxy has accepted as a whole, and runs."""
    text = bench.sample(BASIC)
    bench.upload(text)
    bench.act(Action.START)
    assert not bench.own.accepted.exists()
    return text


def test_a_change_of_members_is_marked_until_the_whole_is_checked(bench: Workbench, text: str) -> None:
    bench.apply(with_member(text, 1))
    assert bench.own.accepted.read_text() == text
    bench.apply(with_member(with_member(text, 1), 2))
    assert bench.own.accepted.read_text() == text, "the whole that was accepted"
    wait_for(lambda: checks.look_after(bench.amphora) == checks.IDLE_INTERVAL, "the check is made")
    assert not bench.own.accepted.exists()
    bench.upload(with_member(text, 3))
    assert bench.own.accepted.read_text() == with_member(with_member(text, 1), 2)


def test_other_changes_are_checked_as_a_whole(bench: Workbench, text: str) -> None:
    bench.upload(with_member(text, 1))
    bench.upload(with_member(text, 1).replace("maxconn ", "maxconn 1"))
    assert not bench.own.accepted.exists()


def test_what_haproxy_refuses_is_refused_with_its_words_for_the_whole(bench: Workbench, text: str) -> None:
    wrong = with_member(text, 1).replace("10.20.1.1:80", "10.20.1.1:80 ssl verify required")
    with pytest.raises(InvalidRequest) as raised:
        bench.upload(wrong)
    assert "haproxy.cfg.new" in raised.value.detail
    assert bench.own.config.read_text() == text
    assert not bench.own.accepted.exists()


def test_a_file_that_changed_has_the_whole_checked(bench: Workbench, text: str) -> None:
    files.write_atomic(bench.own.agent_config, bench.own.agent_config.read_bytes() + b"# another\n")
    bench.amphora.acceptances.last.clear()
    bench.upload(with_member(text, 1))
    assert not bench.own.accepted.exists(), "an agent that has just started knows of no acceptance"
    bench.upload(with_member(text, 2))
    assert bench.own.accepted.exists()


def test_the_switch_turns_it_off(bench: Workbench, text: str) -> None:
    path = bench.amphora.settings_file.path
    path.write_text(path.read_text() + "\n[amphora_agent]\nreduced_checks = false\n")
    assert Settings().reduced_checks
    bench.upload(with_member(text, 1))
    assert not bench.own.accepted.exists()


def test_a_reload_waits_for_the_whole(bench: Workbench, text: str) -> None:
    bench.upload(with_member(text, 1))
    bench.act(Action.STOP)
    bench.act(Action.START)
    assert not bench.own.accepted.exists()


def test_a_crash_in_between_is_made_up_for_at_the_start(bench: Workbench, text: str) -> None:
    bench.upload(with_member(text, 1))
    bench.amphora.acceptances.last.clear()
    with bench.changing() as change:
        checks.complete_all(change)
    assert not bench.own.accepted.exists()
    assert bench.own.config.read_text() == with_member(text, 1)


def make_up_for_the_check(bench: Workbench, how: str) -> None:
    match how:
        case "start":
            with bench.changing() as change:
                checks.complete_all(change)
        case "reload":
            bench.act(Action.RELOAD)
        case _:
            wait_for(lambda: checks.look_after(bench.amphora) == checks.IDLE_INTERVAL, "the check is made")


@pytest.mark.parametrize("how", ["start", "background", "reload"])
def test_a_whole_that_is_refused_after_all_gives_way_to_the_last_that_was_not(
    bench: Workbench, text: str, how: str
) -> None:
    """HAProxy would have to judge differently than it ever did in the tests of `core/haproxy/reduction`."""
    bench.upload(with_member(text, 1))
    bench.own.config.write_text(with_member(text, 1).replace("balance ", "balance nonsense-"))
    with pytest.raises(HostFailure) as raised:
        make_up_for_the_check(bench, how)
    assert "balance only supports" in raised.value.detail
    assert bench.own.config.read_text() == text
    assert not bench.own.accepted.exists()
    assert bench.amphora.changes.counts[checks.COUNTED_AS] == 1
    bench.upload(with_member(text, 1))
    assert not bench.own.accepted.exists(), "no change is checked alone any more"


def test_nothing_of_a_deleted_load_balancer_is_checked(bench: Workbench, text: str) -> None:
    bench.upload(with_member(text, 1))
    bench.own.config.unlink()
    assert checks.look_after(bench.amphora) == checks.IDLE_INTERVAL
