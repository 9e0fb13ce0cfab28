"""The measurements. Each takes an agent and returns figures by name; every loop in here is bounded."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import socket
import statistics
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus

from bench import documents, processes
from bench.arena import LISTENER, PORT, Arena, arena, configuration, member_ids
from bench.contestants import Contestant
from bench.idle import EVERY_TEN_SECONDS, idle
from bench.resumption import resumption
from bench.scrape import scrape
from bench.slow import slow
from bench.tool import tool
from testbed.amphora import AGENT_ADDRESS, AGENT_PORT, LB_ID, RunningAmphora, ask
from testbed.scenario import VIP

Figures = dict[str, float]
MEGABYTE = 1_000_000
NEVER = math.inf
CALLS = 200
STARTS = 5
CLIENTS = 16
REQUESTS_PER_CLIENT = 12
PATIENCE = 10.0
CHANGERS = 32
READS_ALONE, READS_BESIDE = 60, 300
CROWD_SECONDS = 40.0
CHANGES = 50
CONNECTIONS_PER_CHANGE = 15
APPLY_ROUNDS = 8
BEATS = 30
HEARTBEAT_NAME = "amphora-hbeat"
HEARTBEAT_SIZES = (1_000, 2_500, 2_900, 3_200, 3_400, 3_450, 3_500, 5_000, 10_000, 20_000)
UPLOAD_BYTES = 50_000_000


def memory(contestant: Contestant) -> Figures:
    """Memory of all the agent's processes after 200 calls of the kinds a controller makes most."""
    with arena(contestant) as place:
        place.apply(configuration(place.amphora, member_ids(2)))
        for number in range(CALLS):
            path = ("/", "/1.0/info", "/1.0/details", "/1.0/listeners")[number % 4]
            assert place.amphora.request("GET", path).status == HTTPStatus.OK
        used = processes.memory(place.amphora.agent_pids())
    return {
        "memory pss": used.pss / MEGABYTE,
        "memory rss": used.rss / MEGABYTE,
        "memory anonymous": used.anonymous / MEGABYTE,
        "memory processes": used.processes,
        "plug vip": place.plug_vip_seconds,
    }


def start(contestant: Contestant) -> Figures:
    """From the start of the command to the first answer over mutual TLS, p50; and the CPU time used until then."""
    with contestant.start({}, False) as amphora:
        seconds, used = [], []
        for _ in range(STARTS):
            amphora.start()
            seconds.append(amphora.start_seconds)
            used.append(processes.cpu_seconds(amphora.agent_pids()))
            amphora.kill()
    return {"start": statistics.median(seconds), "start cpu": min(used)}


_CLOSURE = """
import importlib.metadata as m, json, pathlib, re, sys
done, size, todo = {}, 0, list(sys.argv[1:])
while todo:
    name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
    if name in done:
        continue
    try:
        dist = m.distribution(name)
    except m.PackageNotFoundError:
        continue
    done[name] = 1
    files = [pathlib.Path(dist.locate_file(f)) for f in dist.files or ()]
    if (dist.read_text("direct_url.json") or "").find('"editable": true') > 0:
        top = m.packages_distributions()
        for package in [p for p, ds in top.items() if dist.metadata["Name"] in ds] or ["amphora_agent"]:
            module = __import__(package)
            files += [p for r in module.__path__ for p in pathlib.Path(r).rglob("*")]
    size += sum(f.stat().st_size for f in files if f.is_file() and f.suffix != ".pyc")
    for line in dist.requires or ():
        if re.search(r"extra\\s*==", line):
            continue
        marker = line.partition(";")[2]
        version = re.search(r'python_version\\s*<\\s*"3\\.(\\d+)"', marker)
        if version and sys.version_info >= (3, int(version[1])) or 'sys_platform == "win32"' in marker:
            continue
        todo.append(re.match(r"[A-Za-z0-9._-]+", line)[0])
print(json.dumps({"size packages": len(done), "size": size / 1e6}))
"""


def size(contestant: Contestant) -> Figures:
    """Installed packages the agent needs, itself included, and their size without bytecode."""
    command = [contestant.python(), "-c", _CLOSURE, *contestant.packages]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def latency(contestant: Contestant) -> Figures:
    """`GET details`, p50, by a client that keeps its connection as long as the agent lets it."""
    with arena(contestant) as place:
        place.apply(configuration(place.amphora, member_ids(2)))
        samples = _timed_requests(place.amphora, CALLS)
    return {"details p50": statistics.median(samples), "plug vip": place.plug_vip_seconds}


def load(contestant: Contestant) -> Figures:
    """`GET details`, p95, by 16 clients at once while a 1,000-member configuration is applied over and over."""
    with arena(contestant) as place:
        configs = [configuration(place.amphora, member_ids(1_000 + extra)) for extra in range(2)]
        place.apply(configs[0])
        samples: list[float] = []
        done = threading.Event()
        failures: list[Exception] = []

        def change() -> None:
            number = 0
            while not done.is_set() and number < 500:
                number += 1
                try:
                    place.apply(configs[number % 2])
                except (OSError, RuntimeError) as error:
                    failures.append(error)

        def client() -> None:
            samples.extend(_timed_requests(place.amphora, REQUESTS_PER_CLIENT))

        changer = threading.Thread(target=change)
        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        changer.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        changer.join()
    if failures:
        raise failures[0]
    return {"details p95 loaded": _percentile(samples, 95)}


def crowd(contestant: Contestant) -> Figures:
    """Reads by one client, p99, while 32 others upload and reload without a pause; and alone, p50."""
    with arena(contestant) as place:
        place.apply(configuration(place.amphora, member_ids(2)))
        alone = _timed_reads(place.amphora, READS_ALONE)
        done = threading.Event()
        configs = [configuration(place.amphora, member_ids(10 + extra)) for extra in range(2)]

        def change(number: int) -> None:
            while not done.is_set():
                with contextlib.suppress(OSError, RuntimeError, http.client.HTTPException):
                    place.apply(configs[number % 2])

        threads = [threading.Thread(target=change, args=(number,)) for number in range(CHANGERS)]
        for thread in threads:
            thread.start()
        try:
            beside = _timed_reads(place.amphora, READS_BESIDE)
        finally:
            done.set()
            for thread in threads:
                thread.join()
    return {"read p50": statistics.median(alone), "read p99 crowded": _percentile(beside, 99)}


def silent(contestant: Contestant) -> Figures:
    """The time of one request while clients that connected and say nothing wait."""
    figures = {}
    with contestant.start({}, True) as amphora, contextlib.ExitStack() as stack:
        figures["silent none"] = _request_time(amphora)
        stack.enter_context(amphora.client.connect(AGENT_ADDRESS, AGENT_PORT))
        figures["silent 1"] = figures["silent 200"] = _request_time(amphora)
        if figures["silent 1"] is not NEVER:
            for _ in range(199):
                stack.enter_context(amphora.client.connect(AGENT_ADDRESS, AGENT_PORT))
            figures["silent 200"] = _request_time(amphora)
    return figures


def plug(contestant: Contestant) -> Figures:
    """`POST plug/vip` of an IPv4 VIP on a fresh machine."""
    with arena(contestant) as place:
        return {"plug vip": place.plug_vip_seconds}


def apply(contestant: Contestant) -> Figures:
    """A change of one member among n: upload, reload, and until HAProxy serves just the new members; p50."""
    figures: Figures = {}
    for count in (2, 100, 1_000):
        figures |= _apply(contestant, f"apply {count}", count)
    return figures


def large(contestant: Contestant) -> Figures:
    """The same among 10 x 1,000, 4,000 and 10,000; minutes, so only when asked for."""
    figures = _apply(contestant, "apply 10 x 1000", 10_000, pools=10)
    for count in (4_000, 10_000):
        figures |= _apply(contestant, f"apply {count}", count)
    return figures


def _apply(contestant: Contestant, figure: str, count: int, pools: int = 1) -> Figures:
    """Return the p50 of changes of one member, and of the CPU time the agent and HAProxy's checks took for each.

    Beats come every 10 s, as they do by default: what they cost is another section's.
    """
    with arena(contestant, EVERY_TEN_SECONDS) as place:
        ids = member_ids(count + APPLY_ROUNDS)
        place.change(ids[:count], pools)
        # A member comes, and goes, and the next one is another: no id comes back.
        changes = [(*ids[:count], *ids[count + r : count + r + 1 - r % 2]) for r in range(APPLY_ROUNDS)]
        samples, used = [], []
        for change in changes:
            before = processes.whole_cpu_seconds(place.amphora.agent_pids())
            samples.append(place.change(change, pools))
            used.append(processes.whole_cpu_seconds(place.amphora.agent_pids()) - before)
    return {
        figure: statistics.median(samples),
        f"{figure} cpu": statistics.mean(used),
        "plug vip": place.plug_vip_seconds,
    }


def churn(contestant: Contestant) -> Figures:
    """50 member changes under 750 long-lived connections, 15 of them replaced between changes: HAProxy at the end."""
    with arena(contestant) as place, contextlib.ExitStack() as stack:
        ids = member_ids(10 + CHANGES)
        place.apply(configuration(place.amphora, ids[:10]))
        sockets = deque(_long_lived(place, stack) for _ in range(CHANGES * CONNECTIONS_PER_CHANGE))
        figures: Figures = {}
        before = after = processes.memory(place.workers())
        for number in range(1, CHANGES + 1):
            place.change(ids[: 10 + number])
            for _ in range(CONNECTIONS_PER_CHANGE):
                sockets.popleft().close()
                sockets.append(_long_lived(place, stack))
            after = processes.memory(place.workers())
            figures[f"churn rss after {number}"] = after.rss / MEGABYTE
            figures[f"churn processes after {number}"] = after.processes
        broken = sum(not _is_alive(connection) for connection in sockets)
    return figures | {
        "churn processes": after.processes,
        "churn rss before": before.rss / MEGABYTE,
        "churn rss": after.rss / MEGABYTE,
        "churn rss growth": after.rss / before.rss,
        "churn broken": broken,
    }


def cpu(contestant: Contestant) -> Figures:
    """CPU time of all the agent's processes per heartbeat, with n members and no other work; the heartbeat's memory."""
    figures: Figures = {}
    for count in (10, 100, 1_000):
        with arena(contestant) as place:
            place.apply(configuration(place.amphora, member_ids(count)))
            place.heartbeats.receive_until(lambda message: LISTENER in message["listeners"])
            before = processes.cpu_seconds(place.amphora.agent_pids())
            for _ in range(BEATS):
                place.heartbeats.receive(timeout=PATIENCE)
            used = processes.cpu_seconds(place.amphora.agent_pids()) - before
            figures[f"cpu per heartbeat {count}"] = used / BEATS
            heartbeat = processes.memory(processes.named(place.amphora.agent_pids(), HEARTBEAT_NAME))
    if heartbeat.processes:
        figures["heartbeat pss"] = heartbeat.pss / MEGABYTE
    return figures


def ceiling(contestant: Contestant) -> Figures:
    """The largest of some load balancers whose heartbeat arrives, and how many of its members are in it."""
    largest, members = 0, 0
    with arena(contestant) as place:
        for count in HEARTBEAT_SIZES:
            place.apply(configuration(place.amphora, member_ids(count), monitor=False))
            place.heartbeats.drain()
            try:
                for _ in range(3):
                    heartbeat = place.heartbeats.receive(timeout=PATIENCE)
            except TimeoutError:
                break
            if LISTENER not in heartbeat.message["listeners"]:
                break
            largest = count
            members = max(members, sum(len(pool["members"]) for pool in heartbeat.message["pools"].values()))
    return {"heartbeat members": largest, "heartbeat members shown": members}


def upload(contestant: Contestant) -> Figures:
    """What a body of 50 MB does to the memory of the agent's processes."""
    with contestant.start({}, True) as amphora:
        amphora.request("GET", "/1.0/details")
        before = processes.memory(amphora.agent_pids()).rss
        body = b"# nothing but a comment\n" * (UPLOAD_BYTES // 24)
        path = f"/1.0/loadbalancer/{amphora.amphora_id}/{LB_ID}/haproxy"
        status = 0
        with processes.peak_rss(amphora.agent_pids) as peak, contextlib.suppress(OSError, http.client.HTTPException):
            status = amphora.request("PUT", path, body, timeout=120).status
        assert amphora.request("GET", "/").status == HTTPStatus.OK
    return {"upload growth": (peak() - before) / MEGABYTE, "upload status": status}


SECTIONS: dict[str, Callable[[Contestant], Figures]] = {
    "size": size,
    "start": start,
    "memory": memory,
    "latency": latency,
    "silent": silent,
    "upload": upload,
    "plug": plug,
    "apply": apply,
    "load": load,
    "crowd": crowd,
    "churn": churn,
    "cpu": cpu,
    "idle": idle,
    "ceiling": ceiling,
    "scrape": scrape,
    "tool": tool,
    "api2": documents.members,
    "api2-memory": documents.memory,
    "slow": slow,
    "resumption": resumption,
    "large": large,
}
ON_REQUEST = ("large",)


def _timed_requests(amphora: RunningAmphora, count: int) -> list[float]:
    """Return the seconds of each `GET details`, connecting anew whenever the agent has closed."""
    samples = []
    connection: http.client.HTTPSConnection | None = None
    for _ in range(count):
        began = time.monotonic()
        if connection is None:
            connection = amphora.connect()
        reply = ask(connection, "GET", "/1.0/details")
        samples.append(time.monotonic() - began)
        assert reply.status == HTTPStatus.OK
        if connection.sock is None or reply.headers.get("connection") == "close":
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    return samples


def _timed_reads(amphora: RunningAmphora, count: int) -> list[float]:
    """Return the seconds of reads of every kind, each on a connection of its own; one without an answer is NEVER.

    As many as there is time for.
    """
    samples: list[float] = []
    end = time.monotonic() + CROWD_SECONDS
    for number in range(count):
        began = time.monotonic()
        if began > end and len(samples) > 1:
            break
        try:
            reply = amphora.request("GET", ("/", "/1.0/info", "/1.0/details")[number % 3], timeout=PATIENCE)
            samples.append(time.monotonic() - began if reply.status == HTTPStatus.OK else NEVER)
        except (OSError, http.client.HTTPException):
            samples.append(NEVER)
            if samples.count(NEVER) > 3:
                break
    return samples


def _request_time(amphora: RunningAmphora) -> float:
    """Return the p50 of a request on a connection of its own, NEVER when the first one has no answer."""
    samples = []
    for _ in range(5):
        began = time.monotonic()
        try:
            amphora.request("GET", "/", timeout=PATIENCE)
        except (OSError, http.client.HTTPException):
            return NEVER
        samples.append(time.monotonic() - began)
    return statistics.median(samples)


def _long_lived(place: Arena, stack: contextlib.ExitStack) -> socket.socket:
    connection = stack.enter_context(place.clients.connect(VIP, PORT))
    if not _is_alive(connection):
        raise RuntimeError("the load balancer does not connect a client with a member")
    return connection


def _is_alive(connection: socket.socket) -> bool:
    """Tell whether an echo still comes back through the load balancer."""
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b"x"
    except OSError:
        return False


def _percentile(samples: list[float], percent: int) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]
