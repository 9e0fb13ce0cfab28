"""The secrets of API 2.0: certificates with their keys, authorities, revocations, passwords. Never returned.

Decision: what a secret is follows from its content, and is asked of OpenSSL, which HAProxy will ask. One that no
handshake could be made with is refused here, by name, and not by a load balancer that does not start.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from amphora_agent.core.document.checks import SecretKind
from amphora_agent.core.document.model import Document
from amphora_agent.core.document.render import file_secrets
from amphora_agent.core.document.secret_text import kind_of
from amphora_agent.errors import InvalidRequest, NotFound
from amphora_agent.host import files
from amphora_agent.operations import certificates
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.document import store
from amphora_agent.operations.document.refusals import InUse, InvalidSecret

LOG = logging.getLogger(__name__)

MAX_BYTES = 1024 * 1024
DIRECTORY_MODE = 0o700
# No secret is called so: their names begin with a letter, a digit or an underscore.
_CANDIDATE = ".candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What may be told of a secret.

    Attributes:
        subject: of its first certificate, RFC 4514; empty without one.
        names: DNS names and addresses the certificate is for.
        not_after: when the first of its certificates, or its revocations, run out.
        sha256: of the bytes, in hex; empty of a password.
        used_by: names of the load balancers that need it.
    """

    name: str
    kind: SecretKind
    subject: str
    names: tuple[str, ...]
    not_after: dt.datetime | None
    sha256: str
    used_by: tuple[str, ...]


def kinds(amphora: Amphora) -> dict[str, SecretKind]:
    """Return the kind of every secret by its name."""
    found = {name: kind_of(data) for name, data in _contents(amphora).items()}
    return {name: kind for name, kind in found.items() if kind is not None}


def read(amphora: Amphora, name: str) -> bytes | None:
    """Return a secret's bytes, for what serves it; None when there is none."""
    return files.read_optional(amphora.paths.secrets / name)


def write(change: Change, name: str, body: bytes | None) -> None:
    """Store a secret's bytes, or remove it; nothing that serves it is touched."""
    if body is None:
        files.remove(change.paths.secrets / name)
        return
    certificates.refuse_the_disk(change.paths.certs)
    files.make_directory(change.paths.secrets, DIRECTORY_MODE)
    files.write_atomic(change.paths.secrets / name, body)


def check(change: Change, body: bytes) -> None:
    """Refuse what is no secret, or one that OpenSSL cannot use.

    Raises:
        InvalidSecret: says why, never what was sent.
    """
    kind = kind_of(body)
    if len(body) > MAX_BYTES:
        raise InvalidSecret("The secret is too large", f"at most {MAX_BYTES} bytes")
    if kind is None:
        expected = "PEM certificates with or without a private key, a PEM revocation list, or one line of text"
        raise InvalidSecret("This is no secret", f"expected {expected}")
    try:
        _check(change, kind, body)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidSecret("TLS cannot use the secret", getattr(error, "reason", "") or str(error)) from error
    except InvalidRequest as error:
        raise InvalidSecret("TLS cannot use the secret", error.detail) from error


def _check(change: Change, kind: SecretKind, body: bytes) -> None:
    match kind:
        case SecretKind.CERTIFICATE:
            certificates.check_pair(body)
            candidate = change.paths.secrets / _CANDIDATE
            write(change, _CANDIDATE, body)
            try:
                certificates.check_in_use(candidate, ssl.TLSVersion.TLSv1_2)
            finally:
                files.remove(candidate)
        case SecretKind.AUTHORITY:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=body.decode("ascii"))
        case SecretKind.REVOCATIONS:
            _revocations(body)
        case SecretKind.PASSWORD:
            return


def describe(amphora: Amphora, name: str) -> Secret:
    """Return what may be told of a secret.

    Raises:
        NotFound: there is none.
    """
    data = read(amphora, name)
    kind = None if data is None else kind_of(data)
    if data is None or kind is None:
        raise NotFound("There is no such secret", f"no secret {name}")
    subject, names, not_after = _facts(kind, data)
    return Secret(
        name=name,
        kind=kind,
        subject=subject,
        names=names,
        not_after=not_after,
        sha256="" if kind is SecretKind.PASSWORD else hashlib.sha256(data).hexdigest(),
        used_by=tuple(each.document.name for each in store.all_stored(amphora).values() if uses(each.document, name)),
    )


def names(amphora: Amphora) -> tuple[str, ...]:
    """Return every secret's name, sorted."""
    return tuple(sorted(_contents(amphora)))


def delete(change: Change, name: str) -> None:
    """Remove a secret that nothing uses.

    Raises:
        NotFound: there is none.
        InUse: a load balancer needs it.
    """
    secret = describe(change, name)
    if secret.used_by:
        raise InUse("The secret is in use", f"load balancer(s) {', '.join(secret.used_by)}")
    write(change, name, None)
    LOG.info("removed a secret name=%s", name)


def uses(document: Document, name: str) -> bool:
    """Tell whether a document names a secret."""
    return name in file_secrets(document) or (document.vrrp is not None and document.vrrp.auth == name)


def _contents(amphora: Amphora) -> Mapping[str, bytes]:
    found = {path.name: files.read_optional(path) for path in files.matching(amphora.paths.secrets, "[!.]*")}
    return {name: data for name, data in found.items() if data is not None}


def _facts(kind: SecretKind, data: bytes) -> tuple[str, tuple[str, ...], dt.datetime | None]:
    """Return subject, names and end of a secret's first certificate or list."""
    if kind is SecretKind.PASSWORD:
        return "", (), None
    if kind is SecretKind.REVOCATIONS:
        return "", (), min((each for each in _revocations(data) if each is not None), default=None)
    from cryptography import x509  # noqa: PLC0415 - 17 MB that only a look at certificates needs

    found = x509.load_pem_x509_certificates(data)
    first = found[0]
    try:
        alternatives = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        named = tuple(str(each.value) for each in alternatives)
    except (x509.ExtensionNotFound, ValueError):
        named = ()
    return first.subject.rfc4514_string(), named, min(each.not_valid_after_utc for each in found)


def _revocations(data: bytes) -> list[dt.datetime | None]:
    """Return when each revocation list runs out.

    Raises:
        ValueError: one cannot be read.
    """
    from cryptography import x509  # noqa: PLC0415 - as above

    end = b"-----END X509 CRL-----"
    parts = [part + end for part in data.split(end) if part.strip()]
    return [x509.load_pem_x509_crl(part).next_update_utc for part in parts]
