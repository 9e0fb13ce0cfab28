"""Both commands of the README as a newcomer gives them on a fresh Debian, in a fresh clone, and what can go wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.fresh.conftest import FIGURE
from tests.fresh.installation import HOME, REMOTE, REPOSITORY, Installation, Outcome

CLONE = f"{HOME}/amphora-agent"
FIRST, SECOND = "playground/run", "tests/run"
# What a fresh Debian can make without what this machine is. All of the tests run on Debian 12 and its HAProxy anyway; a
# fresh one has to show that the command works there.
STAGES = {"bookworm": ("static", "unit"), "trixie": ("static", "unit", "operations")}
NOBODY = "65534"
INSTALL_SECONDS = 600.0
PLAY_SECONDS = 240.0

Measure = Callable[[str, object], None]


@pytest.fixture(scope="module", autouse=True)
def _clone(fresh: Installation) -> None:
    done = fresh.run(["git", "clone", REMOTE, CLONE])
    assert done.code == 0, done.output


@pytest.fixture(autouse=True)
def _leaves_nothing(fresh: Installation) -> Iterator[None]:
    before = files(fresh)
    yield
    assert fresh.processes() == {}
    assert files(fresh) - before == set()


def files(fresh: Installation) -> set[str]:
    """Return the namespaces, the places of playgrounds, temporary files, and what keeps daemons from starting."""
    patterns = ("run/netns/*", "var/lib/amphora*", "tmp/*", "usr/sbin/policy-rc.d")
    found = {str(path.relative_to(fresh.root)) for pattern in patterns for path in fresh.root.glob(pattern)}
    return found - {"tmp/pytest-of-root"}  # pytest keeps the folders of its last runs, for who looks into a failure


def play(fresh: Installation, *, seconds: float = PLAY_SECONDS) -> Outcome:
    """Run the playground and check that its story is told to the end."""
    done = fresh.run([FIRST], cwd=CLONE, seconds=seconds)
    assert done.code == 0, done.output
    for words in ("/reload -> 202", "web-2 is DOWN after", "web-2 is UP after", "All as it should be", "Removed all"):
        assert words in done.output
    assert "Traceback" not in done.output
    return done


def test_the_readme_names_these_commands() -> None:
    commands = re.findall(r"^    (\S.*)$", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    assert commands[:2] == [FIRST, SECOND]


def test_without_root_it_says_so_in_one_line(fresh: Installation) -> None:
    copy = "/var/cache/everybody"  # nobody may look below /root
    fresh.run(["cp", "--recursive", CLONE, copy])
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    for command in (FIRST, SECOND):
        done = fresh.run([*user, command], cwd=copy)
        assert done.code == 1
        (line,) = done.output.splitlines()
        assert "without root" in line


def test_without_a_network_it_says_so(fresh: Installation) -> None:
    done = fresh.run(["unshare", "--net", FIRST], cwd=CLONE)
    assert done.code == 1
    assert "cannot download Debian packages: is there a network" in done.output
    assert len(done.output.splitlines()) < 15, done.output


@pytest.mark.parametrize("moment", ["installing Debian packages"])
def test_an_installation_that_is_interrupted_begins_anew(fresh: Installation, moment: str) -> None:
    with fresh.started([FIRST], cwd=CLONE) as command:
        command.read_until(moment, seconds=60)
        command.interrupt()
        done = command.wait(INSTALL_SECONDS)
    assert done.code == 130, done.output
    assert done.output.splitlines()[-1] == "interrupted"


def test_the_first_command(fresh: Installation, record_property: Measure) -> None:
    done = play(fresh, seconds=INSTALL_SECONDS)
    record_property(FIGURE, f"{FIRST} with the installation took {done.seconds:.0f} s")


def test_the_first_command_again(fresh: Installation, record_property: Measure) -> None:
    done = play(fresh)
    (story,) = re.findall(r"All as it should be, after (.*)", done.output)
    record_property(FIGURE, f"{FIRST} once all is installed took {done.seconds:.0f} s, its story {story}")


@pytest.mark.parametrize("moment", ["Build the networks", "Plug the VIP's NIC", "Heartbeats until web-2 is DOWN"])
def test_ctrl_c_in_the_middle_leaves_nothing_behind(fresh: Installation, moment: str) -> None:
    with fresh.started([FIRST], cwd=CLONE) as command:
        command.read_until(moment, seconds=PLAY_SECONDS)
        command.interrupt()
        done = command.wait(PLAY_SECONDS)
    assert done.code == 130, done.output
    assert "Traceback" not in done.output
    assert "Removed all" in done.output


def test_the_second_command(fresh: Installation, record_property: Measure) -> None:
    stages = STAGES[fresh.suite]
    done = fresh.run([SECOND, *stages], cwd=CLONE, seconds=INSTALL_SECONDS)
    assert done.code == 0, done.output
    record_property(FIGURE, f"{SECOND} {' '.join(stages)} took {done.seconds:.0f} s")
    assert f": {' '.join(stages)}" in done.output.splitlines()[-1]
