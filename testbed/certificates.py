"""A supply of certificates, authorities and revocation lists, minted once and handed out in turn, each with a name."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NOW = dt.datetime.now(dt.UTC)
_DAY = dt.timedelta(days=1)


@dataclass(slots=True)
class Minted:
    """Endless rings of PEM texts; a certificate comes with its key and an intermediate, as the controller sends it."""

    certificates: Iterator[bytes]
    authorities: Iterator[bytes]
    revocations: Iterator[bytes]

    def next_certificate(self) -> bytes:
        """Return the next certificate, key and chain."""
        return next(self.certificates)

    def next_ca(self) -> bytes:
        """Return the next bundle of authorities."""
        return next(self.authorities)

    def next_crl(self) -> bytes:
        """Return the next revocation list."""
        return next(self.revocations)


def mint(count: int = 24) -> Minted:
    """Make `count` certificates for `0.test`, `1.test` ... and half as many authorities and revocation lists."""
    authorities = [_authority(f"authority {number}") for number in range(count // 2)]
    certificates = [_certificate(f"{number}.test", *authorities[0]) for number in range(count)]
    bundles = [_pem(authorities[number][0]) + _pem(authorities[number - 1][0]) for number in range(len(authorities))]
    return Minted(
        itertools.cycle(certificates), itertools.cycle(bundles), itertools.cycle([_crl(*pair) for pair in authorities])
    )


def _authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = _builder(subject, subject, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    return built.sign(key, hashes.SHA256()), key


def _certificate(name: str, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = _builder(subject, ca.subject, key).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _pem(built.sign(ca_key, hashes.SHA256())) + b"\n" + private + b"\n" + _pem(ca)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - _DAY)
        .not_valid_after(_NOW + 30 * _DAY)
    )


def _crl(ca: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    revoked = x509.RevokedCertificateBuilder().serial_number(x509.random_serial_number()).revocation_date(_NOW).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(_NOW - _DAY)
    return (
        builder.next_update(_NOW + 30 * _DAY)
        .add_revoked_certificate(revoked)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
