"""The key that signs, and the key that is trusted: elliptic curves, in PEM files.

One decision: only the three curves of the OpenSSF Model Signing format, each with its own hash. A
signature never says by which algorithm it is to be checked; the trusted key does.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import TrustError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

KEY_BYTES_MAX = 64 << 10
PASSWORD_VARIABLE = "C2T_KEY_PASSWORD"
CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
PUBLIC_HINT = "name a PEM file, such as `openssl ec -in key.pem -pubout -out public.pem` writes"
PRIVATE_HINT = (
    "name a PEM file, such as `openssl ecparam -name prime256v1 -genkey -noout -out key.pem` writes"
)


@dataclass(frozen=True, kw_only=True)
class TrustedKey:
    """A public key.

    Attributes:
        place: The file it was read from, for messages.
        fingerprint: SHA-256 of its PEM form, by which signatures name it: 64 hexadecimal digits.
    """

    place: str
    fingerprint: str
    _key: EllipticCurvePublicKey

    @staticmethod
    def read(path: str | os.PathLike[str]) -> TrustedKey:
        """Read a PEM file.

        Raises:
            TrustError: It holds no public key of one of the three curves.
        """
        place = Path(path)
        serialization, exceptions = _cryptography()
        content = read_bounded(
            place,
            bytes_max=KEY_BYTES_MAX,
            error=TrustError,
            hint=PUBLIC_HINT,
            what="a public key",
        )
        if b"PRIVATE KEY-----" in content:
            problem = f"{place} holds a private key; a public one is trusted"
            raise TrustError(problem, hint=PUBLIC_HINT)
        try:
            key = serialization.load_pem_public_key(content)
        except (ValueError, exceptions.UnsupportedAlgorithm) as error:
            problem = f"{place} is not a public key"
            raise TrustError(problem, hint=PUBLIC_HINT) from error
        _check_curve(key, place, PUBLIC_HINT)
        return TrustedKey(place=str(place), fingerprint=_fingerprint(key), _key=key)

    def accepts(self, signature: bytes, content: bytes) -> bool:
        """Whether `signature` (ECDSA, DER) is this key's over `content`."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, content, _algorithm(self._key))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A private key.

    Attributes:
        fingerprint: That of its public key; see `TrustedKey`.
    """

    fingerprint: str
    _key: EllipticCurvePrivateKey

    @staticmethod
    def read(path: str | os.PathLike[str]) -> SigningKey:
        """Read a PEM file; the password of an encrypted one is taken from `C2T_KEY_PASSWORD`.

        Raises:
            TrustError: It holds no private key of one of the three curves, or the password is
                missing or wrong.
        """
        place = Path(path)
        serialization, exceptions = _cryptography()
        content = read_bounded(
            place,
            bytes_max=KEY_BYTES_MAX,
            error=TrustError,
            hint=PRIVATE_HINT,
            what="a private key",
        )
        password = os.environ.get(PASSWORD_VARIABLE) if b"ENCRYPTED" in content else None
        try:
            key = serialization.load_pem_private_key(content, password and password.encode())
        except TypeError as error:
            problem = f"{place} is encrypted, and no password is given"
            raise TrustError(problem, hint=f"set {PASSWORD_VARIABLE} to its password") from error
        except (ValueError, exceptions.UnsupportedAlgorithm) as error:
            problem = f"{place} is not a private key"
            if password is not None:
                problem += f", or the password of {PASSWORD_VARIABLE} is not its own"
            raise TrustError(problem, hint=PRIVATE_HINT) from error
        _check_curve(key, place, PRIVATE_HINT)
        return SigningKey(fingerprint=_fingerprint(key.public_key()), _key=key)

    def sign(self, content: bytes) -> bytes:
        """The signature over `content` (ECDSA, DER)."""
        return self._key.sign(content, _algorithm(self._key))


def _cryptography() -> tuple[Any, Any]:
    """Its serialization and its exceptions.

    Raises:
        TrustError: It is not installed.
    """
    try:
        from cryptography import exceptions
        from cryptography.hazmat.primitives import serialization
    except ModuleNotFoundError as error:
        problem = "signatures need cryptography, which is not installed"
        raise TrustError(problem, hint='run `pip install "c2t[trust]"`') from error
    return serialization, exceptions


def _check_curve(key: Any, place: Path, hint: str) -> None:
    curve = getattr(getattr(key, "curve", None), "name", None)
    if curve not in CURVES:
        kind = f"of the curve {curve}" if curve else f"for another algorithm ({_kind(key)})"
        problem = f"{place} is a key {kind}; P-256, P-384 and P-521 can be used"
        raise TrustError(problem, hint=hint)


def _kind(key: Any) -> str:
    return type(key).__name__.removesuffix("PublicKey").removesuffix("PrivateKey")


def _algorithm(key: Any) -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    return ECDSA(getattr(hashes, CURVES[key.curve.name])())


def _fingerprint(key: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()
