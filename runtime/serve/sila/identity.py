"""Who the server is: its UUID, its key and its certificate, made once and kept.

One decision: an elliptic key (P-256), made in a millisecond; the library's own RSA key of 4096 bits
takes seconds at every start. The certificate says what SiLA 2 asks of one that nobody has signed:
the name "SiLA2", and the server's UUID under SiLA's own number.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import tempfile
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from c2t.runtime.serve.sila.options import SilaOptions, address_of
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import C2TError

UUID_NAME = "server-uuid"
KEY_NAME = "key.pem"
CERTIFICATE_NAME = "certificate.pem"
SILA_UUID_OID = "1.3.6.1.4.1.58583"  # SiLA 2, part B: the extension that holds the server's UUID
VALID_YEARS = 10
PEM_BYTES_MAX = 1 << 20

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a server is.

    Args:
        uuid: Stays the same for all times.
        key: Its private key as PEM; None without TLS.
        certificate: Its certificate chain as PEM; None without TLS.
        client_authority: Certificates that sign those of clients; None: clients need none.
        certificate_file: Where the certificate lies, for clients to trust.
    """

    uuid: str
    key: bytes | None = None
    certificate: bytes | None = None
    client_authority: bytes | None = None
    certificate_file: Path | None = None


def open_identity(options: SilaOptions) -> Identity:
    """Read who the server is, and make what is missing.

    Raises:
        C2TError: The folder cannot be used, or what lies there is damaged or readable by others.
    """
    try:
        return _open(options)
    except OSError as error:
        problem = f"cannot use {options.folder}: {error.strerror}"
        raise C2TError(problem, hint="name a folder that this user may write to") from error


def _open(options: SilaOptions) -> Identity:
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    server_uuid = _server_uuid(folder)
    if options.insecure:
        return Identity(uuid=server_uuid)
    authority = None if options.client_authority is None else _pem(options.client_authority)
    if options.certificate is not None and options.key is not None:
        certificate_file = options.certificate
        key, certificate = _pem(options.key), _pem(options.certificate)
        _check_pair(key, certificate, certificate_file)
    else:
        certificate_file = folder / CERTIFICATE_NAME
        key = _own_key(folder / KEY_NAME)
        certificate = _own_certificate(certificate_file, key, server_uuid, options.host)
    return Identity(
        uuid=server_uuid,
        key=key,
        certificate=certificate,
        client_authority=authority,
        certificate_file=certificate_file,
    )


def _server_uuid(folder: Path) -> str:
    path = folder / UUID_NAME
    if not path.exists():
        _write(path, f"{uuid.uuid4()}\n".encode(), mode=0o644)
    text = read_bounded(path, bytes_max=100, error=C2TError, hint=_anew(path)).decode(
        errors="replace"
    )
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError as error:
        problem = f"{path} holds no UUID"
        raise C2TError(problem, hint=_anew(path)) from error


def _own_key(path: Path) -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
        content = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, none)
        _write(path, content, mode=0o600)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        problem = f"others may read the key {path}"
        raise C2TError(problem, hint=f"chmod 600 {path}, or remove it to have another made")
    return _pem(path)


def _own_certificate(path: Path, key: bytes, server_uuid: str, host: str) -> bytes:
    """The certificate of the door's own key; a new one where it has expired or is not there."""
    from cryptography import x509

    if path.exists():
        certificate = _pem(path)
        _check_pair(key, certificate, path)
        found = x509.load_pem_x509_certificate(certificate)
        expired = found.not_valid_after_utc < datetime.now(UTC)
        missing = {host.lower()} - _stated(found) if _is_name(host) else set()
        if not expired and not missing:
            return certificate
        why = "has expired" if expired else f"is not for {host}"
        _LOG.warning("%s %s: another is made, clients have to trust it anew", path, why)
    _write(path, _sign(key, server_uuid, host), mode=0o644)
    return _pem(path)


def _sign(key: bytes, server_uuid: str, host: str) -> bytes:
    """A certificate of a key, signed by itself, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    private = serialization.load_pem_private_key(key, password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SiLA2")])
    now = datetime.now(UTC)
    signs = ("digital_signature", "key_cert_sign")
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    names: list[x509.GeneralName] = []
    for text in sorted(_names(host)):
        address = address_of(text)
        names.append(x509.DNSName(text) if address is None else x509.IPAddress(address))
    number = x509.ObjectIdentifier(SILA_UUID_OID)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of instruments are not exact
        .not_valid_after(now + timedelta(days=365 * VALID_YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{use: use in signs for use in every}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.UnrecognizedExtension(number, server_uuid.encode()), critical=False)
        .sign(private, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def _names(host: str) -> set[str]:
    """The names and addresses under which clients may ask for a server that listens at a host."""
    names = {"localhost", "127.0.0.1", "::1"}
    if _is_name(host):
        return names | {host.lower()}
    own = socket.gethostname().lower()
    names.add(own)
    with contextlib.suppress(OSError):  # a machine that does not know its own name
        names |= {str(found[0]).partition("%")[0] for *_, found in socket.getaddrinfo(own, None)}
    return {name for name in names if name.isascii()}


def _is_name(host: str) -> bool:
    """Whether clients can ask for it: not for "all addresses"."""
    address = address_of(host)
    return address is None or not address.is_unspecified


def _stated(certificate: object) -> set[str]:
    """The names and addresses that a certificate is for."""
    from cryptography import x509

    assert isinstance(certificate, x509.Certificate)
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    dns = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return {*dns, *(str(address) for address in addresses)}


def _check_pair(key: bytes, certificate: bytes, path: Path) -> None:
    """Refuse a certificate that is not the key's.

    Raises:
        C2TError: One of them is damaged, or they do not belong together.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        problem = f"{path} or its key is damaged, or has a password: {error}"
        raise C2TError(problem, hint=_anew(path)) from error
    if private.public_key() != public:
        problem = f"{path} is the certificate of another key"
        raise C2TError(problem, hint=_anew(path))


def _pem(path: Path) -> bytes:
    hint = "name a PEM file that this user may read"
    return read_bounded(path, bytes_max=PEM_BYTES_MAX, error=C2TError, hint=hint)


def _anew(path: Path) -> str:
    return f"remove {path} to have another made; clients have to trust the server anew"


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file whole or not at all; one that another process has made meanwhile is replaced."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
