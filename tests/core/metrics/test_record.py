"""Records of what processes know: written by one, read by the proxy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.metrics.own import APPLIES, APPLY_SECONDS, BEAT_BYTES, BEATS, EVERY
from amphora_agent.core.metrics.record import histogram, parse, render, sample

KNOWN = frozenset(metric.name for metric in EVERY)


def test_what_is_rendered_is_read() -> None:
    lines = [sample(BEATS, ("sent",), 17), sample(BEATS, ("failed",), 0), sample(BEAT_BYTES, (), 512.5)]
    assert parse(render(lines), KNOWN) == {
        b"amphora_beats_total": b'amphora_beats_total{result="sent"} 17\namphora_beats_total{result="failed"} 0\n',
        b"amphora_beat_bytes": b"amphora_beat_bytes 512.5\n",
    }


@given(st.text(), st.floats(min_value=0, max_value=1e18, allow_nan=False))
def test_any_text_and_number_is_read_again(text: str, value: float) -> None:
    found = parse(render([sample(APPLIES, ("reload", text.encode("utf-8", "replace").decode()), value)]), KNOWN)
    [line] = found.values()
    assert float(line.rsplit(b" ", 1)[1]) == value


def test_a_histogram_is_cumulative() -> None:
    lines = histogram(APPLY_SECONDS, (0.5, 1.0), (2, 1, 3), 12.25)
    assert "".join(lines) == (
        'amphora_apply_seconds_bucket{le="0.5"} 2\n'
        'amphora_apply_seconds_bucket{le="1"} 3\n'
        'amphora_apply_seconds_bucket{le="+Inf"} 6\n'
        "amphora_apply_seconds_sum 12.25\n"
        "amphora_apply_seconds_count 6\n"
    )
    assert list(parse(render(lines), KNOWN)) == [b"amphora_apply_seconds"]


def test_another_version_and_a_cut_one_are_none() -> None:
    whole = render([sample(BEAT_BYTES, (), 1)])
    assert parse(whole, KNOWN) != {}
    assert parse(whole.replace(b"metrics 1", b"metrics 2"), KNOWN) == {}
    assert all(parse(whole[:length], KNOWN) == {} for length in range(len(whole)))


@given(st.binary())
def test_garbage_is_nothing(data: bytes) -> None:
    assert parse(b"amphora-metrics 1\n" + data + b"\n# end\n", KNOWN) == {}


def test_lines_nobody_knows_are_left_out() -> None:
    assert parse(render(["amphora_secret 1\n", "amphora_beat_bytes x\n", "amphora_beat_bytes 2\n"]), KNOWN) == {
        b"amphora_beat_bytes": b"amphora_beat_bytes 2\n"
    }
