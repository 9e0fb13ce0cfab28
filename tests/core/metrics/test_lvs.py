"""UDP and SCTP listeners under HAProxy's names: samples of the controller's configurations before IPVS tables."""

from __future__ import annotations

from amphora_agent.core.keepalived.ipvs import Table
from amphora_agent.core.keepalived.lvs_status import report
from amphora_agent.core.metrics.lvs import samples
from amphora_agent.core.metrics.own import EVERY
from amphora_agent.core.metrics.record import parse, render
from tests.core.keepalived.test_lvs_config import FIRST, LISTENER, POOL, SECOND, sample
from tests.core.keepalived.test_lvs_status import V4, service


def shown(prefix: str, table: Table) -> set[str]:
    config = sample(prefix)
    part = report(LISTENER, config, table, is_settling=False)
    return {line.strip() for _, line in samples(LISTENER, config, table, part)}


def test_a_listener_its_pool_and_its_members() -> None:
    lines = shown("01", {V4: service("10.20.0.11", weight=3, active=2, counted=7)})
    pool = f'pool="{POOL}:{LISTENER}"'
    assert lines >= {
        f'octavia_listener_status{{listener="{LISTENER}",state="UP"}} 1',
        f'octavia_listener_status{{listener="{LISTENER}",state="DOWN"}} 0',
        f'octavia_listener_sessions_total{{listener="{LISTENER}"}} 7',
        f'octavia_listener_bytes_in_total{{listener="{LISTENER}"}} 70',
        f'octavia_listener_bytes_out_total{{listener="{LISTENER}"}} 700',
        f'octavia_listener_current_sessions{{listener="{LISTENER}"}} 2',
        f"octavia_pool_sessions_total{{{pool}}} 7",
        f"octavia_pool_active_members{{{pool}}} 1",
        f'octavia_member_weight{{{pool},member="{FIRST}"}} 3',
        f'octavia_member_current_sessions{{{pool},member="{FIRST}"}} 2',
        f'octavia_member_status{{{pool},member="{FIRST}",state="UP"}} 1',
        f'octavia_member_status{{{pool},member="{SECOND}",state="UP"}} 0',
        f'octavia_member_status{{{pool},member="{SECOND}",state="DOWN"}} 1',
    }
    assert not any(f'octavia_member_weight{{{pool},member="{SECOND}"' in line for line in lines)


def test_every_line_is_one_the_proxy_passes_on() -> None:
    config, table = sample("01"), {V4: service("10.20.0.11", counted=7)}
    pairs = list(samples(LISTENER, config, table, report(LISTENER, config, table, is_settling=False)))
    known = frozenset(metric.name for metric in EVERY)
    found = parse(render(line for _, line in pairs), known)
    assert b"".join(found.values()).count(b"\n") == len(pairs)


def test_without_a_kernel_service_nothing_was_counted() -> None:
    lines = shown("01", {})
    assert f'octavia_listener_sessions_total{{listener="{LISTENER}"}} 0' in lines


def test_a_listener_that_is_off_is_down() -> None:
    assert f'octavia_listener_status{{listener="{LISTENER}",state="UP"}} 0' in shown("11", {})
