"""amphoractl pki: an authority and certificates for mutual TLS, for machines that no controller gives any.

Keys are of the curve P-256. Every certificate says what it is for, as strictly as Python 3.13 and OpenSSL ask it to.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.host import files

AUTHORITY, AUTHORITY_KEY = "ca.pem", "ca.key"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")
# Clocks differ; a certificate made this minute must be valid on all machines.
_CLOCK_SKEW = timedelta(hours=1)
_Key = ec.EllipticCurvePrivateKey


def run(context: Context) -> Exit:
    """Make an authority, or a certificate of one."""
    made = _init(context) if context.arguments.action == "init" else _issue(context)
    if context.screen.is_json:
        context.screen.document({"files": [str(path) for path in made]})
    else:
        _advise(context, made)
    return Exit.DONE


def _init(context: Context) -> list[Path]:
    given = context.arguments
    directory: Path = given.directory
    paths = [directory / AUTHORITY, directory / AUTHORITY_KEY]
    _refuse_existing(paths)
    key = ec.generate_private_key(ec.SECP256R1())
    files.make_directory(directory, 0o700)
    files.write_atomic(paths[1], _key_pem(key))
    files.write_atomic(paths[0], _pem(_authority(given.name, key, given.days)))
    return paths


def _issue(context: Context) -> list[Path]:
    given = context.arguments
    if not _NAME.match(given.name):
        raise CommandFailure(Exit.USAGE, f"{given.name!r} is not made of letters, digits, '.', '_' and '-'")
    path: Path = given.directory / f"{given.name}.pem"
    _refuse_existing([path])
    authority, authority_key = _load(given.directory)
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(given.name), *_addresses(given.address)]
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if given.client else ExtendedKeyUsageOID.SERVER_AUTH
    certificate = (
        _builder(given.name, key, authority.subject, given.days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    files.write_atomic(path, _pem(certificate) + _key_pem(key))
    return [path]


def _authority(name: str, key: _Key, days: int) -> x509.Certificate:
    try:
        subject = _subject(name)
    except ValueError as error:
        raise CommandFailure(Exit.USAGE, f"{name!r} cannot name an authority: {error}") from error
    return (
        _builder(name, key, subject, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(name: str, key: _Key, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer, _subject(name), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, certificates: bool) -> x509.KeyUsage:
    """Return what a key is for: signing certificates and revocation lists, or handshakes."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _addresses(texts: list[str]) -> list[x509.GeneralName]:
    try:
        return [x509.IPAddress(ip_address(text)) for text in texts]
    except ValueError as error:
        raise CommandFailure(Exit.USAGE, str(error)) from error


def _load(directory: Path) -> tuple[x509.Certificate, _Key]:
    """Return the authority of a directory and its key."""
    try:
        authority = x509.load_pem_x509_certificate((directory / AUTHORITY).read_bytes())
        key = serialization.load_pem_private_key((directory / AUTHORITY_KEY).read_bytes(), None)
    except OSError as error:
        message = f"there is no authority in {directory}: `amphoractl pki init {directory}` makes one"
        raise CommandFailure(Exit.USAGE, message) from error
    except (ValueError, TypeError) as error:
        raise CommandFailure(Exit.REFUSED, f"cannot read the authority in {directory}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != authority.public_key():
        raise CommandFailure(Exit.REFUSED, f"{AUTHORITY_KEY} in {directory} is not the key of {AUTHORITY}")
    return authority, key


def _refuse_existing(paths: list[Path]) -> None:
    for path in paths:
        if path.exists():
            raise CommandFailure(Exit.CONFLICT, f"{path} is there already; nothing was changed")


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _advise(context: Context, made: list[Path]) -> None:
    given, screen = context.arguments, context.screen
    for path in made:
        screen.line(f"wrote {path}")
    authority = given.directory / AUTHORITY
    if given.action == "init":
        screen.line(f"next: amphoractl pki issue {given.directory} NAME, and once more with --client")
    elif given.client:
        screen.line(f"use it: amphoractl --url https://HOST --cert {made[0]} --ca {authority} status")
    else:
        screen.line(f"the agent: agent_server_cert = {made[0]}, agent_server_ca = {authority}")
