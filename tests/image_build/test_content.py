"""What goes into an image: elements, units, commands, pinned packages."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import threading
import tomllib
from pathlib import Path

import pytest

from amphora_image.build import Options, alone, content_hash, inputs, lacking
from amphora_image.payload import BUILD, LOCK, PYTHONS, REPOSITORY, write_commands
from testbed.waiting import holds

ELEMENTS = BUILD / "elements"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
HOOKS = sorted(path for path in ELEMENTS.glob("*/*.d/*") if path.suffix != ".bash")
SCRIPTS = [
    path for path in sorted(ELEMENTS.glob("*/tree/**/*")) if path.is_file() and path.read_bytes().startswith(b"#!")
]


@pytest.mark.parametrize("hook", [*HOOKS, *SCRIPTS], ids=lambda path: str(path.relative_to(ELEMENTS)))
def test_every_script_is_one(hook: Path) -> None:
    assert os.access(hook, os.X_OK)
    shell = hook.read_text().partition("\n")[0].removeprefix("#!")
    assert subprocess.run([shell, "-n", hook], check=False).returncode == 0


@pytest.mark.parametrize("options", [Options(), Options(has_cloud_init=True, is_slim=False, has_ssh=True)])
def test_every_element_exists_and_says_what_it_is(options: Options) -> None:
    for name in options.element_names():
        assert (ELEMENTS / name / "README.rst").exists()
        assert (ELEMENTS / name / "element-deps").exists()


def test_a_package_that_did_not_get_into_the_image_is_named() -> None:
    options = Options(has_cloud_init=True)
    assert {"cloud-init", "haproxy", "udev"} <= lacking(options, [])
    assert lacking(options, lacking(options, []) - {"cloud-init"}) == {"cloud-init"}
    # Of one of several kernels and machines: only with a condition.
    assert not any("linux-image" in name for name in lacking(options, []))


def test_sshd_is_in_one_element_alone() -> None:
    having = {path.parent.name for path in ELEMENTS.glob("*/package-installs.yaml") if "ssh" in path.read_text()}
    assert having == {"amphora-ssh"}
    assert "amphora-ssh" not in Options().element_names()


def test_every_dependency_is_pinned_with_a_hash() -> None:
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9a-z.]+( --hash=sha256:[0-9a-f]{64})+", line) for line in lines)
    pinned = {line.partition("==")[0] for line in lines}
    wanted = {re.split("[<>=]", name)[0].lower().replace(".", "-") for name in PROJECT["dependencies"]}
    assert wanted <= pinned


def test_the_commands_of_the_image_are_the_projects(tmp_path: Path) -> None:
    write_commands(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(PROJECT["scripts"])
    for path in tmp_path.iterdir():
        assert os.access(path, os.X_OK)
        ast.parse(path.read_text())


def test_a_changed_unit_or_option_is_another_image() -> None:
    names = {str(path.relative_to(REPOSITORY)) for path in inputs()}
    assert {"systemd/amphora-agent.service", "pyproject.toml", "amphora_agent/cmd/agent.py"} <= names
    assert "image-build/requirements.lock" in names
    hashes = {content_hash(Options(release=release, has_ssh=ssh)) for release in PYTHONS for ssh in (False, True)}
    assert len(hashes) == 2 * len(PYTHONS)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_ping_wrapper_says_who_answers(address: str) -> None:
    wrapper = ELEMENTS / "amphora-agent/tree/var/lib/octavia/ping-wrapper.sh"
    environment = {"PATH": os.environ["PATH"], "HAPROXY_SERVER_ADDR": address}
    assert subprocess.run([wrapper], env=environment, check=False, timeout=10).returncode == 0
    gone = environment | {"HAPROXY_SERVER_ADDR": "240.0.0.1"}
    assert subprocess.run([wrapper], env=gone, check=False, timeout=10).returncode != 0


def test_two_builds_never_make_the_same_thing_at_once(tmp_path: Path) -> None:
    order = []

    def build_too() -> None:
        with alone(tmp_path / "root.tar"):
            order.append("second")

    other = threading.Thread(target=build_too)
    with alone(tmp_path / "root.tar"):
        other.start()
        assert holds(lambda: not order, 0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
