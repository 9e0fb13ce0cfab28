"""The commands of docs/api-2.0.md, in their order, in a shell beside a running agent."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from testbed.scenario import Scenario

DOCS = Path(__file__).parents[3] / "docs" / "api-2.0.md"
PROBLEMS = re.compile(r"^\| `([a-z-]+)` \| (\d{3}) \|", re.MULTILINE)


def commands() -> str:
    """Return the indented blocks of the page, as one script."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", DOCS.read_text(), re.MULTILINE)
    return "\n".join(re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks)


def answers_of(output: str) -> list[object]:
    """Return the JSON values that a script printed one behind the other."""
    decoder, found, rest = json.JSONDecoder(), [], output.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


@pytest.fixture
def script(tmp_path: Path, plugged: Scenario) -> Path:
    path = tmp_path / "commands.sh"
    text = commands().replace("/run/amphora-agent.sock", str(plugged.amphora.api_socket))
    path.write_text(f"set -e\n{text}")
    return path


def test_the_commands_of_the_page_do_what_it_says(script: Path) -> None:
    done = subprocess.run(["bash", script], capture_output=True, text=True, timeout=90, cwd=script.parent, check=False)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    answers = answers_of(done.stdout)
    documents = [each for each in answers if isinstance(each, dict)]
    outcomes = [each for each in documents if "decision" in each]
    assert [each["decision"] for each in outcomes if not each["dry_run"]][:4] == [
        "start",
        "runtime",
        "runtime",
        "runtime",
    ]
    (problem,) = [each for each in documents if each.get("status") == 422]
    assert [each["pointer"] for each in problem["errors"]] == [
        "/listeners/0/default_pool",
        "/pools/0/members/0/address",
    ]
    (status,) = [each for each in documents if "listeners" in each and "conditions" in each]
    members = status["listeners"][0]["pools"][0]["members"]
    assert [each["drained"] is not None for each in members] == [False, True]
    assert members[1]["drained"]["by"] == "uid 0"


def test_the_page_lists_the_problems_there_are() -> None:
    from amphora_agent.api.http.refusals import Refusal  # noqa: PLC0415 - of the agent's worker alone
    from amphora_agent.api.v2.problems import HTTP_SLUGS, KINDS  # noqa: PLC0415

    known = {(kind.slug, str(kind.status.value)) for kind in KINDS.values()}
    known |= {(slug, str(status)) for status, slug in HTTP_SLUGS.items()}
    known |= {(refusal.slug, str(refusal.status.value)) for refusal in Refusal}
    assert set(PROBLEMS.findall(DOCS.read_text())) == known
