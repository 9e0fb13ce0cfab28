"""`docs/metrics.md`, the dashboards and the alerts say what the code does, and lead to each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from amphora_agent.core.metrics.own import EVERY
from testbed.dashboards import DASHBOARDS, DIRECTORY, text_of
from testbed.metrics_document import FILE, RULES, alerts, document
from testbed.public_dashboard import METRICS, MISSPELLED

CASES = Path(__file__).parent.parent.parent / "metrics" / "alerts.yml"
NAME = re.compile(r"\b(?:octavia|amphora)_[a-z_]+\b")
PARTS = re.compile(r"_(bucket|sum|count)$")
NAMES = {metric.name for metric in EVERY}
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def unknown(expression: str) -> set[str]:
    """Return the metrics of a query that no scrape has."""
    return {name for name in NAME.findall(expression) if name not in NAMES and PARTS.sub("", name) not in NAMES}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_the_document_is_made_from_the_code_as_it_is() -> None:
    assert FILE.read_text() == document(), "run python -m testbed.metrics_document"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_made_from_the_table_as_it_is(name: str) -> None:
    assert (DIRECTORY / name).read_text() == text_of(DASHBOARDS[name]), "run python -m testbed.dashboards"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_panels_of_a_dashboard_are_apart_and_ask_for_what_there_is(name: str) -> None:
    panels = json.loads((DIRECTORY / name).read_text())["panels"]
    places = Counter(
        (column, row)
        for place in (panel["gridPos"] for panel in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    )
    assert max(places.values()) == 1
    assert max(column for column, _ in places) < 24
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(queries) > 10
    assert {query: names for query in queries if (names := unknown(query))} == {}


def test_the_public_dashboard_asks_for_what_there_is() -> None:
    assert set(METRICS) <= NAMES
    assert MISSPELLED not in NAMES
    text = FILE.read_text()
    assert [name for name in METRICS if f"`{name}`" not in text] == []


def test_every_alert_leads_to_its_page_and_asks_for_what_there_is() -> None:
    headings = {line.removeprefix("### ").lower() for line in FILE.read_text().splitlines() if line.startswith("### ")}
    for alert in alerts():
        file, _, heading = alert.annotations["runbook_url"].partition("#")
        assert (file, heading in headings, heading) == ("docs/metrics.md", True, alert.name.lower())
        assert unknown(alert.expression) == set()


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for expected in case["promql_expr_test"]:
            alert = re.search(r'alertname="(\w+)"', expected["expr"])
            assert alert is not None
            (fires if expected["exp_samples"] else silent).add(alert[1])
    assert fires == silent == {alert.name for alert in alerts()}


@needs_promtool
def test_the_alerts_fire_when_they_should() -> None:
    checked = promtool("check", "rules", str(RULES))
    assert checked.returncode == 0, checked.stderr
    tested = promtool("test", "rules", str(CASES))
    assert tested.returncode == 0, tested.stdout + tested.stderr
