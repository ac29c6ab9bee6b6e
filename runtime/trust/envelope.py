"""A signature's file: a Sigstore bundle with a DSSE envelope around a statement.

Formats: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md and
https://docs.sigstore.dev/about/bundle/. `model-signing` 1.x reads and writes the same.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import msgspec

from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import TrustError
from c2t.runtime.trust.keys import SigningKey, TrustedKey
from c2t.runtime.trust.statement import HINT

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
# A bundle has a dozen files, of which a signature says some 200 bytes each.
SIGNATURE_BYTES_MAX = 4 << 20


class _KeyName(msgspec.Struct):
    hint: str | None = None


class _Material(msgspec.Struct, rename="camel"):
    public_key: _KeyName | None = None
    tlog_entries: list[msgspec.Raw] = []


class _Signature(msgspec.Struct):
    sig: str
    keyid: str | None = ""


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _File(msgspec.Struct, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


def seal(statement: bytes, key: SigningKey) -> bytes:
    """The content of a signature's file."""
    file = _File(
        media_type=MEDIA_TYPE,
        verification_material=_Material(public_key=_KeyName(hint=key.fingerprint)),
        dsse_envelope=_Envelope(
            payload=base64.b64encode(statement).decode(),
            payload_type=PAYLOAD_TYPE,
            signatures=[_Signature(sig=base64.b64encode(key.sign(_signed(statement))).decode())],
        ),
    )
    return msgspec.json.encode(file) + b"\n"


def unseal(path: Path, key: TrustedKey) -> bytes:
    """The statement in a signature's file.

    Nothing of it is looked at before the signature was checked, except what names the key.

    Raises:
        TrustError: No such file, not signed by this key, or not in this format.
    """
    if path.is_symlink():
        problem = f"{path} is a link; a signature lies in the folder itself"
        raise TrustError(problem, hint=HINT)
    what = "a signature of OpenSSF Model Signing v1"
    content = read_bounded(
        path, bytes_max=SIGNATURE_BYTES_MAX, error=TrustError, hint=HINT, what=what
    )
    file = decode_json(content, _File, name=path, error=TrustError, hint=HINT, what=what)
    envelope, name = file.dsse_envelope, file.verification_material.public_key
    if file.media_type != MEDIA_TYPE or envelope.payload_type != PAYLOAD_TYPE:
        other = file.media_type if file.media_type != MEDIA_TYPE else envelope.payload_type
        problem = f"{path} is of another format: {other!r}"
        raise TrustError(problem, hint=HINT)
    if name is None:
        problem = f"{path} is signed with a certificate; c2t trusts a key"
        raise TrustError(problem, hint=HINT)
    if name.hint and name.hint != key.fingerprint:
        problem = f"{path} is signed with another key than {key.place}: {name.hint[:16]}…"
        raise TrustError(problem, hint=HINT)
    if len(envelope.signatures) != 1:
        problem = f"{path} has {len(envelope.signatures)} signatures; one is read"
        raise TrustError(problem, hint=HINT)
    try:
        statement = base64.b64decode(envelope.payload, validate=True)
        signature = base64.b64decode(envelope.signatures[0].sig, validate=True)
    except (binascii.Error, ValueError) as error:
        problem = f"{path} is damaged: what is signed in it is not base64"
        raise TrustError(problem, hint=HINT) from error
    if not key.accepts(signature, _signed(statement)):
        problem = f"{path} is no signature of the key {key.place}, or what it signs was changed"
        raise TrustError(problem, hint=HINT)
    return statement


def _signed(statement: bytes) -> bytes:
    """What the key signs: DSSE's PAE of the statement."""
    return b"DSSEv1 %d %s %d %s" % (
        len(PAYLOAD_TYPE),
        PAYLOAD_TYPE.encode(),
        len(statement),
        statement,
    )
