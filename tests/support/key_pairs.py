"""Key pairs in PEM files, made for a test. Needs cryptography: c2t[trust]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@dataclass(frozen=True)
class KeyPair:
    private: Path
    public: Path


def write_keys(folder: Path, name: str, key, password: bytes | None = None) -> KeyPair:
    pair = KeyPair(folder / f"{name}.key", folder / f"{name}.pem")
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    pair.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    public = key.public_key()
    pair.public.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return pair


def new_keys(folder: Path, name: str = "key") -> KeyPair:
    """A new pair on the curve P-256."""
    return write_keys(folder, name, ec.generate_private_key(ec.SECP256R1()))
