"""What is wrong with an answer: every difference from what the plan should have made."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.plan import Plan
from amphora_agent.core.haproxy.steps import AddCertificate, FileKind, RemoveServer, ReplaceFile, SetWeight
from amphora_agent.core.haproxy.verification import (
    FileQuestion,
    ListQuestion,
    ServersQuestion,
    certificate_fingerprints,
    questions,
)
from tests.core.haproxy.test_servers_state import HEADER

CONFIG = parse(
    "backend p:l\n    balance roundrobin\n    server a 10.0.0.1:80 weight 5 check\n    server b 10.0.0.2:80 disabled\n"
)
A = "2 p:l 1 a 10.0.0.1 2 0 5 1 7 8 2 0 6 0 0 0 - 80 - 0 0 - - 0"
B = "2 p:l 2 b 10.0.0.2 0 5 1 1 7 8 2 0 0 0 0 0 - 80 - 0 0 - - 0"
GONE = "2 p:l 3 c 10.0.0.3 0 1 1 1 7 8 2 0 0 0 0 0 - 80 - 0 0 - - 0"
PLAN = Plan(steps=(SetWeight("p:l", "a", 5), RemoveServer("p:l", "c")), aliases={}, commits=frozenset())
DER = b"a certificate"
PEM = f"-----BEGIN CERTIFICATE-----\n{b64encode(DER).decode()}\n-----END CERTIFICATE-----\n"
SHA1 = hashlib.sha1(DER, usedforsecurity=False).hexdigest().upper()


def asked() -> ServersQuestion:
    (question,) = questions(PLAN, CONFIG, {}, {}, {"p:l": ["c"]})
    assert isinstance(question, ServersQuestion)
    assert question.command == "show servers state p:l"
    return question


def mismatch(*rows: str) -> str | None:
    return asked().mismatch(HEADER + "".join(f"{row}\n" for row in rows) + "\n")


def test_the_right_outcome() -> None:
    assert mismatch(A, B, GONE) is None
    assert mismatch(A, B) is None


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (B, GONE),
        (A, B, GONE, GONE.replace(" c ", " d ")),
        (A.replace(" 5 1 7", " 6 1 7"), B),
        (A.replace("10.0.0.1", "10.0.0.9"), B),
        (A.replace("- 80 -", "- 81 -"), B),
        (A.replace(" 2 0 5", " 0 1 5"), B),
        (A.replace(" 2 0 5", " 2 8 5"), B),
        (A.replace("0 6 0", "0 0 0"), B),
        (A.replace("- 80 - 0", "- 80 - 1"), B),
        (A.replace("0 0 - - 0", "0 9 - - 0"), B),
        (A, B, GONE.replace(" 0 1 1", " 2 0 1")),
    ],
)
def test_a_wrong_outcome(rows: tuple[str, ...]) -> None:
    assert mismatch(*rows) is not None


def test_the_content_of_a_certificate() -> None:
    plan = Plan(steps=(ReplaceFile(FileKind.CERTIFICATE, "/o", "/n"),), aliases={"/n": "/o"}, commits=frozenset())
    (question,) = questions(plan, CONFIG, {}, {"/n": PEM + PEM.replace("Y", "Z")}, {})
    assert question == FileQuestion(kind=FileKind.CERTIFICATE, loaded="/o", fingerprints=frozenset({SHA1}))
    assert question.command == "show ssl cert /o"
    answer = f"Filename: /o\nStatus: Used\nSerial: 1\nSHA1 FingerPrint: {SHA1}\n"
    assert question.mismatch(answer) is None
    assert question.mismatch(answer.replace("Used", "Unused")) is not None
    assert question.mismatch(answer.replace(SHA1, SHA1[::-1])) is not None
    assert question.mismatch("Can't display the certificate: Not found or the certificate is a bundle!") is not None


def test_all_authorities_of_a_bundle_but_no_revocation_list() -> None:
    other = PEM.replace("Y", "Z")
    steps = (ReplaceFile(FileKind.CA, "/a", "/b"), ReplaceFile(FileKind.CRL, "/c", "/d"))
    plan = Plan(steps=steps, aliases={}, commits=frozenset())
    bundle, revoked = questions(plan, CONFIG, {}, {"/b": PEM + other, "/d": "x\n"}, {})
    assert isinstance(bundle, FileQuestion)
    assert bundle.fingerprints == set(certificate_fingerprints(PEM + other))
    assert len(bundle.fingerprints) == 2
    assert revoked.mismatch("Filename: /c\nStatus: Used\nCertificate Revocation List #1:\n") is None


def test_a_crt_list_by_loaded_names() -> None:
    plan = Plan(steps=(AddCertificate("/l", "/d", None),), aliases={"/b": "/a"}, commits=frozenset())
    (question,) = questions(plan, CONFIG, {"/l": "/b\n# c\n/d\n"}, {}, {})
    assert question == ListQuestion(crt_list="/l", loaded=("/a", "/d"))
    assert question.mismatch("# /l\n/a\n/d\n\n") is None
    assert question.mismatch("# /l\n/d\n/a\n\n") is not None
    assert question.mismatch("# /l\n/a\n\n") is not None


def test_no_fingerprint_of_garbage() -> None:
    assert certificate_fingerprints("") == []
    assert certificate_fingerprints("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n") == []
