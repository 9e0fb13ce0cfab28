"""The agent takes only a certificate of its own that TLS can be spoken with; whatever it refuses changes nothing."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from amphora_agent.core.paths import paths_of
from amphora_agent.errors import InvalidRequest
from amphora_agent.host import tls
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.supervisor.direct import DirectSupervisor
from amphora_agent.operations import certificates
from amphora_agent.operations.amphora import Amphora
from testbed.pki import Pki

Key = dsa.DSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
MAKERS: dict[str, Callable[[], Key]] = {
    "dsa": lambda: dsa.generate_private_key(2048),
    "rsa-1024": lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505 - what is to be refused
    "rsa-2048": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def certificate(key: Key) -> bytes:
    """Return a self-signed certificate of a key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "amphora")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


def pair(kind: str) -> bytes:
    """Return a certificate with its key."""
    key = MAKERS[kind]()
    return certificate(key) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def amphora(tmp_path: Path) -> Amphora:
    config = tmp_path / "amphora-agent.conf"
    config.write_text(f"[amphora_agent]\nagent_server_cert = {tmp_path}/server.pem\n")
    settings_file = SettingsFile(config)
    paths = paths_of(settings_file.current())
    paths.agent_cert.write_bytes(b"the old one")
    return Amphora(
        settings_file=settings_file,
        started=settings_file.current(),
        paths=paths,
        supervisor=DirectSupervisor(tmp_path / "units"),
    )


def put(amphora: Amphora, body: bytes) -> None:
    with amphora.changing() as change:
        certificates.replace_own(change, body)


@pytest.mark.parametrize("kind", ["rsa-2048", "ec", "ed25519"])
def test_what_tls_can_use_is_taken(amphora: Amphora, kind: str) -> None:
    body = pair(kind)
    put(amphora, body)
    assert amphora.paths.agent_cert.read_bytes() == body
    assert amphora.paths.agent_cert.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in amphora.paths.agent_cert.parent.glob("server.pem*")} == {"server.pem"}


def weak_chain() -> bytes:
    return pair("rsa-2048") + certificate(MAKERS["rsa-1024"]())


def trusted_block_first() -> bytes:
    own = pair("rsa-2048")
    return own.replace(b"BEGIN CERTIFICATE", b"BEGIN TRUSTED CERTIFICATE", 1).replace(
        b"END CERTIFICATE", b"END TRUSTED CERTIFICATE", 1
    ) + certificate(MAKERS["rsa-2048"]())


def cut_last_block() -> bytes:
    return pair("rsa-2048") + certificate(MAKERS["rsa-2048"]())[:-40]


@pytest.mark.hardening("B4")
@pytest.mark.parametrize(
    "make",
    [lambda: pair("dsa"), lambda: pair("rsa-1024"), weak_chain, trusted_block_first, cut_last_block],
    ids=["dsa", "rsa-1024", "weak chain", "trusted block first", "cut last block"],
)
def test_what_would_lock_the_controller_out_is_refused(amphora: Amphora, make: Callable[[], bytes]) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        put(amphora, make())
    assert refusal.value.detail
    assert "PRIVATE" not in refusal.value.detail
    assert amphora.paths.agent_cert.read_bytes() == b"the old one"
    assert {path.name for path in amphora.paths.agent_cert.parent.glob("server.pem*")} == {"server.pem"}


@pytest.mark.hardening("D26")
def test_clients_of_an_intermediate_authority_alone_are_let_in(tmp_path: Path) -> None:
    """The client CA file holds no root; the client shows its own certificate alone."""
    pki = Pki.mint("amphora")
    (tmp_path / "server.pem").write_bytes(pki.server)
    (tmp_path / "client.pem").write_bytes(pki.client)
    root = ec.generate_private_key(ec.SECP256R1())
    own = x509.load_pem_x509_certificate(pki.ca)
    intermediate = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")]),
        own.subject,
        own.public_key(),
        2,
        own.not_valid_before_utc,
        own.not_valid_after_utc,
        list(own.extensions),
    ).sign(root, hashes.SHA256())
    (tmp_path / "ca.pem").write_bytes(intermediate.public_bytes(Encoding.PEM))
    context = tls.server_context(tmp_path / "server.pem", ssl.TLSVersion.TLSv1_2)
    tls.require_clients_of(context, tmp_path / "ca.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(tmp_path / "client.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours, theirs = context.wrap_bio(to_server, to_client, server_side=True), client.wrap_bio(to_client, to_server)
    for _ in range(5):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ours.getpeercert(binary_form=True)
