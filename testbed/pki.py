"""The certificates of one amphora and its controller, minted as Octavia mints them. Never for production."""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """PEM texts: one CA for both directions, the agent's and the controller's certificate, each followed by its key."""

    ca: bytes
    ca_key: bytes
    server: bytes
    client: bytes

    @staticmethod
    def mint(amphora_id: str) -> Pki:
        """Return the PKI of this amphora; the same one for the same id within a process, for speed."""
        return _mint(amphora_id)

    def issue(self, name: str, *, days: int = 30) -> bytes:
        """Return a further certificate of the CA and its key, CN and dNSName being `name`; expired if days < 0."""
        ca_key = serialization.load_pem_private_key(self.ca_key, None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        return _issue(name, x509.load_pem_x509_certificate(self.ca), ca_key, days)

    def crl(self) -> bytes:
        """Return an empty revocation list of the CA, valid for a month."""
        ca_key = serialization.load_pem_private_key(self.ca_key, None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(
            x509.load_pem_x509_certificate(self.ca).subject, now - timedelta(days=1), now + timedelta(days=30)
        )
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def write(self, directory: Path) -> None:
        """Write ca.pem, server.pem and client.pem, readable by their owner only."""
        for name, text in (("ca.pem", self.ca), ("server.pem", self.server), ("client.pem", self.client)):
            path = directory / name
            path.touch(mode=0o600)
            path.write_bytes(text)


def client_context(
    ca: Path, certificate: Path | None, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> ssl.SSLContext:
    """Return the controller's side of mutual TLS: exactly `version`, the server's name and chain verified."""
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = context.maximum_version = version
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


@functools.lru_cache
def _mint(amphora_id: str) -> Pki:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "amphora test CA")])
    now = datetime.now(UTC)
    ca = (
        x509.CertificateBuilder(name, name, ca_key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return Pki(
        ca=ca.public_bytes(serialization.Encoding.PEM),
        ca_key=_key_pem(ca_key),
        server=_issue(amphora_id, ca, ca_key, 30),
        client=_issue("controller", ca, ca_key, 30),
    )


def _issue(name: str, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, days: int) -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = datetime.now(UTC)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder(ca.subject)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=max(1, 1 - days)))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + _key_pem(key)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    """Return what a key is for: signing certificates and CRLs, or TLS. Python 3.13 trusts no CA that does not say."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=not certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
