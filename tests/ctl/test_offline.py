"""Commands that need no agent: validate, pki, completion, reference, explain, heartbeat listen."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from amphora_agent.core.doctor.checks import CHECKS
from amphora_agent.core.doctor.explanations import EXPLANATIONS
from amphora_agent.core.heartbeat.envelope import seal
from amphora_agent.ctl import reference
from amphora_agent.ctl.parser import build
from docs.make_pages import pages
from tests.ctl.conftest import Ctl
from tests.ctl.shapes import DOCUMENT

ROOT = Path(__file__).parents[2]
SHOP = """
name: shop
id: 25744ac1-3e34-55a2-8441-e585e4cba268
vips: [{address: 10.10.0.100, subnet: 10.10.0.0/24}]
listeners: [{name: plain, protocol: HTTP, protocol_port: 80, default_pool: web}]
pools: [{name: web, protocol: HTTP, lb_algorithm: ROUND_ROBIN}]
"""


def test_a_good_document_is_in_order(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    ran = ctl("validate", str(file))
    assert (ran.code, ran.out) == (0, f"  ignored: /id\n{file}: in order\n")
    assert json.loads(ctl("validate", str(file), "--json").out) == {"valid": True, "errors": [], "ignored": ["/id"]}


def test_every_problem_of_a_document_is_told(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP.replace("80,", "80000,").replace("ROUND_ROBIN", "RANDOM"))
    ran = ctl("validate", str(file))
    assert ran.code == 3
    assert "  listener plain: got 80000, expected an integer <= 65535 (/listeners/0/protocol_port)\n" in ran.errors
    assert "  pool web: got 'RANDOM', expected one of ROUND_ROBIN, " in ran.errors
    file.write_text(SHOP.replace("default_pool: web", "default_pool: wep"))
    ran = ctl("validate", str(file), "--json")
    assert (ran.code, [each["pointer"] for each in json.loads(ran.out)["errors"]]) == (3, ["/listeners/0/default_pool"])


def test_a_document_from_standard_input() -> None:
    command = [sys.executable, "-m", "amphora_agent.cmd.amphoractl", "validate", "-"]
    done = subprocess.run(command, input=json.dumps(DOCUMENT), capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "-: in order\n")


@pytest.fixture
def pki(ctl: Ctl, tmp_path: Path) -> Path:
    directory = tmp_path / "pki"
    assert ctl("pki", "init", str(directory)).code == 0
    assert ctl("pki", "issue", str(directory), "amphora-1", "--address", "127.0.0.1").code == 0
    assert ctl("pki", "issue", str(directory), "operator", "--client").code == 0
    return directory


def test_certificates_are_for_mutual_tls_as_strictly_as_can_be_asked(pki: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.pem"))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(pki / "amphora-1.pem")
    client = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    client.load_cert_chain(pki / "operator.pem")
    for context in (server, client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("amphora-1", "127.0.0.1"):
        assert _shake_hands(server, client, name)["subject"] == ((("commonName", "operator"),),)
    client.load_cert_chain(pki / "amphora-1.pem")
    with pytest.raises(ssl.SSLError):
        _shake_hands(server, client, "amphora-1")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> Mapping[str, object]:
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(here, there, server_hostname=name), server.wrap_bio(there, here, server_side=True))
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[1].getpeercert() or {}


def test_keys_are_for_their_owner_alone_and_never_replaced(ctl: Ctl, pki: Path) -> None:
    for path in pki.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    before = {path: path.read_bytes() for path in pki.iterdir()}
    assert ctl("pki", "init", str(pki)).code == 5
    assert ctl("pki", "issue", str(pki), "operator", "--client").code == 5
    assert {path: path.read_bytes() for path in pki.iterdir()} == before


@pytest.mark.parametrize("words", [["../x"], [""], ["a b"], ["x", "--address", "10.0.0.300"], ["x", "--days", "0"]])
def test_a_certificate_of_nonsense_is_refused(ctl: Ctl, pki: Path, words: list[str]) -> None:
    count = len(list(pki.iterdir()))
    assert ctl("pki", "issue", str(pki), *words).code == 2
    assert len(list(pki.iterdir())) == count


def test_an_authority_has_to_be_there_and_to_have_its_key(ctl: Ctl, pki: Path, tmp_path: Path) -> None:
    assert ctl("pki", "issue", str(tmp_path / "none"), "x").code == 2
    ctl("pki", "init", str(tmp_path / "other"))
    (pki / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    assert ctl("pki", "issue", str(pki), "x").code == 3


def test_codes_are_explained(ctl: Ctl) -> None:
    assert [line.split()[0] for line in ctl("explain").out.splitlines()] == [check.code for check in CHECKS]
    assert ctl("explain", "e07").out.startswith("E07: ")
    assert json.loads(ctl("explain", "E07", "--json").out)[0]["remedy"] == list(EXPLANATIONS["E07"].remedy)
    assert ctl("explain", "E99").code == 2


def test_every_check_is_explained_and_every_code_is_one_of_a_check() -> None:
    codes = [check.code for check in CHECKS]
    assert len(codes) == len(set(codes))
    assert sorted(codes) == sorted(EXPLANATIONS)


@pytest.mark.parametrize("name", pages())
def test_pages_that_are_made_are_current(name: str) -> None:
    assert (ROOT / name).read_text() == pages()[name], "make it again: scripts/make-pages"


def test_bash_completes_commands_options_and_files(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "completion"
    file.write_text(ctl("completion", "bash").out)
    assert _completed(file, "amphoractl", "me") == ["member"]
    assert _completed(file, "amphoractl", "member", "dr") == ["drain"]
    assert _completed(file, "amphoractl", "--json", "member", "") == ["drain", "ready", "weight", *_common()]
    assert _completed(file, "amphoractl", "apply", "--con") == ["--confirm"]
    assert _completed(file, "amphoractl", "completion", "z") == ["zsh"]
    assert _completed(file, "amphoractl", "validate", "sho") == []


def _common() -> list[str]:
    outline = reference.outline(build())
    return [*(flag for each in outline.arguments if each.is_common for flag in each.flags), "--help"]


def _completed(file: Path, *words: str) -> list[str]:
    script = (
        f'source {file}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _amphoractl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command(ctl: Ctl, shell: str) -> None:
    text = ctl("completion", shell).out
    for command in reference.outline(build()).walk():
        assert all(part in text for part in command.path), command.path
        assert all(flag.lstrip("-") in text for each in command.own for flag in each.flags), command.path


def test_the_manual_is_read_without_a_warning() -> None:
    for name in ("amphoractl.1", "amphora-agent.8", "amphora-agent.conf.5"):
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-wmac", str(ROOT / "docs" / "man" / name)], capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b""), name


def test_heartbeats_are_received_decoded_and_judged(ctl: Ctl, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("insecure\n")
    message = {
        "id": "badf474f-b45d-5d8b-80bb-35dbe5e8281e",
        "seq": 3,
        "listeners": {"l": {"status": "OPEN", "stats": {"conns": 1, "totconns": 2}}},
        "pools": {"p:l": {"status": "UP", "members": {"m": "UP", "n": "DOWN", "o": "UP"}}},
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    stop = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not stop.wait(0.05):
                sender.sendto(seal(json.dumps(message).encode(), "insecure"), ("127.0.0.1", port))
                sender.sendto(seal(json.dumps(message).encode(), "another"), ("127.0.0.1", port))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        words = ["heartbeat", "listen", "--address", "127.0.0.1", "--port", str(port), "--key-file", str(key)]
        shown = ctl(*words, "--count", "4")
        as_json = ctl(*words, "--count", "2", "--json")
    finally:
        stop.set()
        thread.join()
    assert shown.code == 0
    assert "  pool p:l  UP  1 DOWN, 2 UP\n" in shown.out
    assert "  listener l  OPEN  conns 1, totconns 2\n" in shown.out
    assert "it is not signed with this key" in shown.out
    found = [json.loads(line) for line in as_json.out.splitlines()]
    assert any(each.get("message") == message for each in found)


def test_heartbeats_need_a_key(ctl: Ctl, tmp_path: Path) -> None:
    assert ctl("heartbeat", "listen", "--config-file", str(tmp_path / "none")).code == 2
