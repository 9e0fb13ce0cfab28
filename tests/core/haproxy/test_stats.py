"""`show stat` to statuses: HAProxy's real columns, every status of the contract, and any bytes at all."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.haproxy.stats import Frontend, Table, parse_stat
from amphora_agent.core.heartbeat.counters import Totals
from amphora_agent.core.heartbeat.document import Pool

# The first columns as HAProxy 2.6 and 3.0 print them, and one of the text columns behind.
HEADER = (
    "pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,act,x"
)
COLUMNS = HEADER.replace(",x", ",last_chk").split(",")


def row(pxname: str, svname: str, status: str, **values: object) -> dict[str, str]:
    return {"pxname": pxname, "svname": svname, "status": status} | {key: str(value) for key, value in values.items()}


def render(*rows: dict[str, str], columns: list[str] | None = None) -> bytes:
    """Write rows as HAProxy does: quoting where needed, a trailing comma, an empty line at the end."""
    names = columns or COLUMNS
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    for values in rows:
        writer.writerow([*(values.get(name, "") for name in names), ""])
    return f"# {','.join(names)},\n{text.getvalue()}\n".encode()


def parsed(data: bytes) -> Table:
    table = parse_stat(data)
    assert table is not None
    return table


def test_rows_become_listeners_pools_and_members() -> None:
    table = parsed(
        render(
            row("l1", "FRONTEND", "OPEN", scur=3, stot=9, bin=512, bout=1024, ereq=1),
            row("p1:l1", "m1", "UP", weight=1),
            row("p1:l1", "m2", "no check", weight=1),
            row("p1:l1", "BACKEND", "UP", weight=2),
            row("p2:l1", "BACKEND", "UP", weight=0),
        )
    )
    totals = Totals(bytes_in=512, bytes_out=1024, request_errors=1, connections=9)
    assert table.frontends == {"l1": Frontend("l1", "OPEN", totals, 3)}
    assert table.pools == {"p1:l1": Pool("UP", {"m1": "UP", "m2": "no check"}), "p2:l1": Pool("UP", {})}


@pytest.mark.parametrize(
    ("shown", "weight", "sent"),
    [
        ("UP", "1", "UP"),
        ("UP", "0", "DRAIN"),
        ("UP", "00", "UP"),
        ("UP", "", "UP"),
        ("UP 1/3", "0", "UP 1/3"),
        ("UP 1/3", "1", "UP 1/3"),
        ("DOWN", "0", "DOWN"),
        ("DOWN", "1", "DOWN"),
        ("DOWN 1/2", "1", "DOWN 1/2"),
        ("DOWN (agent)", "1", "DOWN (agent)"),
        ("DRAIN", "0", "DRAIN"),
        ("DRAIN (agent)", "0", "DRAIN (agent)"),
        ("MAINT", "1", "MAINT"),
        ("MAINT (via x/y)", "1", "MAINT (via x/y)"),
        ("MAINT (resolution)", "1", "MAINT (resolution)"),
        ("no check", "0", "no check"),
        ("no check", "1", "no check"),
        ("NOLB", "1", "NOLB"),
        ("NOLB 1/3", "0", "NOLB 1/3"),
        ("something new", "0", "something new"),
    ],
)
def test_every_member_status(shown: str, weight: str, sent: str) -> None:
    table = parsed(render(row("p:l", "m", shown, weight=weight), row("p:l", "BACKEND", "UP")))
    assert table.pools["p:l"].members == {"m": sent}


@pytest.mark.parametrize("shown", ["OPEN", "FULL", "STOP", "PAUSED", "WAITING", "other"])
def test_listener_statuses_pass_through(shown: str) -> None:
    assert parsed(render(row("l", "FRONTEND", shown))).frontends["l"].status == shown


@pytest.mark.parametrize("shown", ["UP", "DOWN", "other"])
def test_pool_statuses_pass_through(shown: str) -> None:
    assert parsed(render(row("p:l", "BACKEND", shown, weight=0))).pools["p:l"].status == shown


def test_the_internal_exporter_is_left_out() -> None:
    table = parsed(
        render(
            row("prometheus-exporter-internal-endpoint", "FRONTEND", "OPEN"),
            row("prometheus-exporter-internal", "prometheus-internal", "no check"),
            row("prometheus-exporter-internal", "BACKEND", "UP"),
            row("l", "FRONTEND", "OPEN"),
        )
    )
    assert set(table.frontends) == {"l"}
    assert table.pools == {}


def test_columns_are_found_by_name() -> None:
    data = render(row("l", "FRONTEND", "OPEN", stot=5, bin=6), columns=[*reversed(COLUMNS)])
    assert parsed(data).frontends["l"].totals == Totals(bytes_in=6, connections=5)


def test_quotes_commas_lines_and_other_scripts_in_a_check_result_harm_nobody() -> None:
    reason = 'HTTP "503, Größe\n次",x\r\n""'
    data = render(
        row("p:l", "m1", "DOWN", weight=1, last_chk=reason),
        row("p:l", 'm"2,\n', "UP", weight=0),
        row("p:l", "BACKEND", "UP"),
        row("l", "FRONTEND", "OPEN", stot=1),
    )
    table = parsed(data)
    assert table.pools == {"p:l": Pool("UP", {"m1": "DOWN", 'm"2,\n': "DRAIN"})}
    assert table.frontends["l"].totals.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"Permission denied\n\n",
        b"Can't find the target PID matching the prefix '@!999'\n",
        b"# pxname,svname,status\n\n",
        render(row("l", "FRONTEND", "OPEN"))[:-1],
        render(row("l", "FRONTEND", "OPEN"))[:-9],
    ],
)
def test_what_is_no_complete_table(data: bytes) -> None:
    assert parse_stat(data) is None


@given(st.binary())
def test_any_bytes_are_taken(data: bytes) -> None:
    parse_stat(data)
    parse_stat(render()[:-1] + data + b"\n\n")


@given(
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8)), max_size=8),
    st.integers(0, 300),
)
def test_any_text_in_any_column_keeps_the_other_rows(rows: list[tuple[str, str, str, str]], cut: int) -> None:
    rendered = [row(a, b, c, weight=d, scur=d, bin=d, last_chk=a + d) for a, b, c, d in rows]
    data = render(row("first", "FRONTEND", "OPEN", stot=7), *rendered)
    table = parsed(data)
    assert table.frontends["first"].totals.connections == 7 or any(name == "first" for name, *_ in rows)
    parse_stat(data[:cut] + data[cut + 1 :])
