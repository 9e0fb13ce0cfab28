"""Certificates: the tenants' files as opaque bytes, and the agent's own, checked before it replaces the old one.

Decision: a file that the stored configuration names is not deleted when the controller says so, only hidden from it; it
goes once a configuration without it is applied. The controller deletes the files of a listener before it uploads what
other listeners share with it again, and HAProxy could not start in between, nor ever if the controller dies there.
"""

from __future__ import annotations

import datetime as dt
import logging
import ssl
from collections.abc import Collection
from pathlib import Path

from amphora_agent.core.ids import LoadBalancerId, PemName
from amphora_agent.core.records import condemned as condemned_record
from amphora_agent.errors import HostFailure, InvalidRequest, NotFound
from amphora_agent.host import files, tls
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import stored_files

LOG = logging.getLogger(__name__)

DIRECTORY_MODE = 0o700
# Images that have it keep tenants' keys in encrypted memory, never on the disk.
_KEYS_MOUNT_UNIT = "certs-ramfs.service"
_UNIT_DIRECTORIES = (Path("/etc/systemd/system"), Path("/run/systemd/system"), Path("/usr/lib/systemd/system"))


def store(change: Change, lb_id: LoadBalancerId, name: PemName, body: bytes) -> None:
    """Store one file of a load balancer, which need not exist yet; the bytes are not looked at.

    Raises:
        HostFailure: the disk refused, or the memory that the image has for keys is not mounted.
    """
    refuse_the_disk(change.paths.certs)
    files.make_directory(change.paths.loadbalancer(lb_id).certs, DIRECTORY_MODE)
    files.write_atomic(change.paths.loadbalancer(lb_id).cert(name), body)
    _write_condemned(change, lb_id, _condemned(change, lb_id) - {name})
    LOG.info("stored a certificate file lb=%s file=%s bytes=%d", lb_id, name, len(body))


def refuse_the_disk(directory: Path) -> None:
    """Refuse to write keys to the root disk, and into its snapshots, because a mount failed or is late.

    Raises:
        HostFailure: they would come to lie there.
    """
    is_promised = any(files.exists(units / _KEYS_MOUNT_UNIT) for units in _UNIT_DIRECTORIES)
    if is_promised and not files.is_mount(directory):
        raise HostFailure("cannot store a certificate", f"{_KEYS_MOUNT_UNIT} has not mounted {directory}")


def read(amphora: Amphora, lb_id: LoadBalancerId, name: PemName) -> bytes:
    """Return one file.

    Raises:
        NotFound: there is none.
    """
    data = files.read_optional(amphora.paths.loadbalancer(lb_id).cert(name))
    if data is None or name in _condemned(amphora, lb_id):
        raise NotFound("Certificate Not Found", f"No certificate with filename: {name}")
    return data


def delete(change: Change, lb_id: LoadBalancerId, name: PemName) -> None:
    """Remove one file, if it is there; one that the stored configuration names goes when that does not name it."""
    paths = change.paths
    config = files.read_optional(paths.loadbalancer(lb_id).config) or b""
    stored = stored_files.gather(change, config.decode("utf-8", "replace"))
    if str(paths.loadbalancer(lb_id).cert(name)) in stored.digests:
        _write_condemned(change, lb_id, _condemned(change, lb_id) | {name})
        LOG.info("condemned a certificate file that is in use lb=%s file=%s", lb_id, name)
        return
    files.remove(paths.loadbalancer(lb_id).cert(name))
    LOG.info("removed a certificate file lb=%s file=%s", lb_id, name)


def remove_condemned(change: Change, lb_id: LoadBalancerId, needed: Collection[str]) -> None:
    """Remove what the controller deleted earlier and the configuration that runs now does not need any more.

    Args:
        change: whose files.
        lb_id: of which load balancer.
        needed: paths of files that must stay.
    """
    condemned = _condemned(change, lb_id)
    left = {name for name in condemned if str(change.paths.loadbalancer(lb_id).cert(name)) in needed}
    for name in sorted(condemned - left):
        files.remove(change.paths.loadbalancer(lb_id).cert(name))
        LOG.info("removed a certificate file lb=%s file=%s", lb_id, name)
    _write_condemned(change, lb_id, left)


def _condemned(amphora: Amphora, lb_id: LoadBalancerId) -> frozenset[PemName]:
    return condemned_record.decode(files.read_optional(amphora.paths.loadbalancer(lb_id).condemned)) or frozenset()


def _write_condemned(change: Change, lb_id: LoadBalancerId, names: Collection[PemName]) -> None:
    path = change.paths.loadbalancer(lb_id).condemned
    if names:
        files.make_directory(path.parent, DIRECTORY_MODE)
        files.write_atomic(path, condemned_record.encode(names))
    else:
        files.remove(path)


def replace_own(change: Change, body: bytes) -> None:
    """Replace the agent's own certificate and key; the next TLS connection is served with them.

    Raises:
        InvalidRequest: no certificate, no unencrypted private key, the two do not belong together, or TLS cannot be
            spoken with them.
        HostFailure: the disk refused; the old ones serve on.
    """
    check_pair(body)
    target = change.paths.agent_cert
    candidate = target.with_name(f"{target.name}.new")
    files.write_atomic(candidate, body)
    try:
        check_in_use(candidate, tls.minimum_version(change.started))
        files.rename_durable(candidate, target)
    finally:
        files.remove(candidate)
    LOG.info("replaced the agent's certificate")


def check_in_use(candidate: Path, minimum: ssl.TLSVersion) -> None:
    """Load a file as a server will, and shake hands: another judge would let pass what then locks everybody out.

    Raises:
        InvalidRequest: TLS cannot be spoken with it.
        HostFailure: the machine refused.
    """
    try:
        tls.check_handshake(tls.server_context(candidate, minimum))
    except HostFailure as error:
        is_the_machine = isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, ssl.SSLError)
        if is_the_machine:  # such as a lack of descriptors: the same request may work later
            raise
        raise InvalidRequest("cannot use the certificate", error.detail) from error


def check_pair(pem: bytes) -> None:
    """Check that one of the certificates belongs to the private key; any order, intermediates allowed.

    Raises:
        InvalidRequest: says what is missing, never what was sent.
    """
    from cryptography import x509  # noqa: PLC0415 - 17 MB that only a rotation needs
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key  # noqa: PLC0415

    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidRequest("cannot use the certificate", "the body holds no readable PEM certificate") from error
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise InvalidRequest("cannot use the certificate", "the body holds no readable, plain private key") from error
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # TLS shows the first certificate of the file, so that one must be the key's.
    if certificates[0].public_key().public_bytes(*spki) != key.public_key().public_bytes(*spki):
        raise InvalidRequest("cannot use the certificate", "the first certificate does not belong to the private key")
    if certificates[0].not_valid_after_utc < dt.datetime.now(dt.UTC):
        LOG.warning("the agent's new certificate has expired at=%s", certificates[0].not_valid_after_utc)
