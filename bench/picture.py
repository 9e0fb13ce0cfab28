"""Draw what a Prometheus saw of a load balancer in ninety seconds: `docs/pictures/minute.svg`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from bench import drawing
from testbed.amphora import RunningAmphora
from testbed.metrics_document import RULES
from testbed.prometheus import Prometheus
from testbed.rsyslog import logging_to, rsyslogd
from testbed.scenario import LISTENER_ID, VIP, Scenario, scenario
from testbed.waiting import wait_for

NAME = "minute.svg"
SECONDS, RELOAD_AT, DEAD_AT, ALIVE_AT = 90.0, 20.0, 40.0, 65.0
CLIENTS, PAUSE = 4, 0.05
_PORT = 8088
_WINDOW = "[8s]"
_TRAFFIC = f'{{listener="{LISTENER_ID}"}}{_WINDOW}'
_SHOWN: dict[str, dict[str, str]] = {
    "requests/s by code": {
        "{code}": f"sum by (code) (rate(octavia_listener_http_responses_total{_TRAFFIC})) > 0",
    },
    "ms until the last byte": {
        f"p{share}": f"1000 * histogram_quantile(0.{share}, "
        f"sum by (le) (rate(amphora_listener_duration_seconds_bucket{_TRAFFIC})))"
        for share in (50, 95, 99)
    },
    "requests/s by member": {
        "member {member:.4}": f"sum by (member) (rate(octavia_member_loadbalanced_total{_WINDOW}))",
        "given to another": f"sum(rate(octavia_pool_redispatch_warnings_total{_WINDOW}))",
    },
}


def main() -> int:
    """Run a load balancer with traffic, a reload and a dead member, and draw the metrics of it."""
    options = {"health_manager": {"heartbeat_interval": "1"}, "amphora_agent": {"configuration_firewall": "off"}}
    with RunningAmphora(options=options) as amphora, scenario(amphora) as place, rsyslogd(amphora):
        place.plug()
        place.apply(_configuration(place))
        with _clients(place), Prometheus(place.clients, f"{VIP}:{_PORT}", RULES) as server:
            wait_for(lambda: server.query('up{job="octavia"} == 1'), server.log, seconds=60)
            began = time.time()
            _play(place, began)
            _draw(server, began)
    return 0


def _configuration(place: Scenario) -> str:
    return logging_to(place.amphora, place.amphora.sample("haproxy/15-prometheus.cfg"))


@contextlib.contextmanager
def _clients(place: Scenario) -> Iterator[None]:
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(PAUSE):
            with contextlib.suppress(OSError):
                place.get(timeout=10)

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def _play(place: Scenario, began: float) -> None:
    def change() -> None:
        place.apply(_configuration(place).replace("timeout client 50000", "timeout client 49000"))

    for due, act in (
        (RELOAD_AT, change),
        (DEAD_AT, place.web_servers[0].stop),
        (ALIVE_AT, place.web_servers[0].start),
    ):
        time.sleep(max(0.0, began + due - time.time()))
        act()
    time.sleep(max(0.0, began + SECONDS - time.time()))


def _draw(server: Prometheus, began: float) -> None:
    figure, places = drawing.pyplot().subplots(len(_SHOWN), 1, sharex=True, figsize=(9, 7), layout="constrained")
    for axes, (title, queries) in zip(places, _SHOWN.items(), strict=True):
        for label, query in queries.items():
            for series in server.history(query, began, began + SECONDS):
                _plot(axes, label.format_map(series["metric"]), series["values"], began)
        for at, words in ((RELOAD_AT, "reload"), (DEAD_AT, "a member dies"), (ALIVE_AT, "it is back")):
            axes.axvline(at, color="grey", linestyle=":")
            if axes is places[0]:
                axes.annotate(words, (at, 1), xycoords=("data", "axes fraction"), va="bottom", ha="center")
        axes.set_ylabel(title)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right")
    places[-1].set_xlabel("seconds")
    drawing.save(figure, NAME)


def _plot(axes: Any, label: str, values: list[tuple[float, str]], began: float) -> None:  # noqa: ANN401 - untyped
    points = [(at - began, float(value)) for at, value in values if value != "NaN"]
    axes.plot([at for at, _ in points], [value for _, value in points], label=label, linewidth=1.2)
