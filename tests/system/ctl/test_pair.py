"""The doctor on both amphorae of a pair: nothing while both are healthy, and whose keepalived has died."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from testbed.waiting import wait_for
from tests.system.ctl.conftest import COMMAND
from tests.system.ha.pair import Family, Node, Pair, running_pair

pytestmark = pytest.mark.timeout(240)
# Nobody receives the heartbeats of this pair.
HEARTBEATS = {"E12", "E13", "E15"}


@pytest.fixture
def pair() -> Iterator[Pair]:
    with running_pair(Family.DUAL) as made:
        yield made


def found(node: Node) -> set[str]:
    config = ["--config-file", str(node.amphora.config_file)]
    ran = node.amphora.run([COMMAND, "--socket", str(node.amphora.api_socket), "doctor", "--json", *config])
    report = json.loads(ran.stdout)
    assert report["unseen"] == []
    return {each["code"] for each in report["findings"]} - HEARTBEATS


def await_health(node: Node) -> None:
    wait_for(lambda: not found(node), lambda: str(found(node)))


def test_both_are_healthy_until_keepalived_of_one_dies(pair: Pair) -> None:
    master, backup = pair.nodes
    wait_for(lambda: master.holds(pair.vips), "the first is MASTER")
    await_health(master)
    await_health(backup)
    master.amphora.kill()
    os.kill(master.keepalived_pid(), signal.SIGKILL)
    wait_for(lambda: {"E01", "E40"} <= found(master), lambda: str(found(master)))
    wait_for(lambda: backup.holds(pair.vips), "the other is MASTER")
    await_health(backup)
