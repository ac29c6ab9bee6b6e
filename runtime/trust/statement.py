"""What is signed: an in-toto statement that lists every file with its SHA-256.

One decision: a statement is read strictly. Fields that the format knows must say what c2t means by
them. What a statement asks to ignore is not ignored: every file of the folder must be listed.

A manifest may have hashes of a file's blocks, too. A tool that signs whole files does not see
whether these are of the same content. `c2t sign` compares both, and says so in a field of its own;
without that field, a file's own SHA-256 says what may run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import TrustError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
SIGNATURE_NAME = "model.sig"
HINT = (
    "get the bundle again from whom you trust, or let them sign it with `c2t sign`; "
    "see `c2t help trust`"
)
_SHA256 = re.compile("[0-9a-f]{64}")


class _Subject(msgspec.Struct):
    name: str
    digest: dict[str, str]


class _Serialization(msgspec.Struct):
    method: str
    hash_type: str
    allow_symlinks: bool = False


class _Resource(msgspec.Struct):
    name: str
    algorithm: str
    digest: str


class _Predicate(msgspec.Struct):
    serialization: _Serialization
    resources: list[_Resource]
    c2t_blocks_compared: bool = False


class _Head(msgspec.Struct):
    type: str = msgspec.field(name="_type")
    predicate_type: str = msgspec.field(name="predicateType")


class _Statement(msgspec.Struct):
    subject: list[_Subject]
    predicate: _Predicate


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What was signed.

    Attributes:
        files: SHA-256 of each file in hexadecimal, by its path in the folder with "/".
        blocks_compared: Whoever signed compared a manifest's block hashes with the files.
    """

    files: Mapping[str, str]
    blocks_compared: bool


def write_statement(name: str, files: Mapping[str, str], *, blocks_compared: bool = False) -> bytes:
    """The statement about a folder.

    Args:
        name: Of the folder, for people.
        files: SHA-256 of each file in hexadecimal, by its path in the folder with "/".
        blocks_compared: See `Statement`.
    """
    names = sorted(files, key=lambda file: file.split("/"))
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root([files[n] for n in names])}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_NAME],
            },
            "resources": [{"name": n, "algorithm": "sha256", "digest": files[n]} for n in names],
        },
    }
    if blocks_compared:
        statement["predicate"]["c2t_blocks_compared"] = True
    return msgspec.json.encode(statement)


def read_statement(content: bytes, place: str) -> Statement:
    """The files that a statement lists, with the SHA-256 of each.

    Args:
        content: Whose signature was checked.
        place: The signature's file, for messages.

    Raises:
        TrustError: Another kind of statement, other hashes, or it contradicts itself.
    """

    def decode(kind: type[Any]) -> Any:
        return decode_json(
            content, kind, name=place, error=TrustError, hint=HINT, what="the signature of a model"
        )

    head = decode(_Head)
    if (head.type, head.predicate_type) != (STATEMENT_TYPE, PREDICATE_TYPE):
        problem = f"{place} signs another kind of statement: {head.predicate_type!r}"
        raise TrustError(problem, hint=HINT)
    statement = decode(_Statement)
    serialization, resources = statement.predicate.serialization, statement.predicate.resources
    if (serialization.method, serialization.hash_type) != ("files", "sha256"):
        method = f"{serialization.method} by {serialization.hash_type}"
        problem = f"{place} signs {method}; c2t reads files by sha256"
        raise TrustError(problem, hint=HINT)
    files: dict[str, str] = {}
    for resource in resources:
        if resource.algorithm != "sha256" or not _SHA256.fullmatch(resource.digest):
            problem = f"{place} has no SHA-256 of {resource.name!r}"
            raise TrustError(problem, hint=HINT)
        if resource.name in files:
            problem = f"{place} lists {resource.name!r} twice"
            raise TrustError(problem, hint=HINT)
        files[resource.name] = resource.digest
    stated = [subject.digest.get("sha256") for subject in statement.subject]
    if stated != [_root(list(files.values()))]:
        problem = f"{place} contradicts itself: its total is not that of the files it lists"
        raise TrustError(problem, hint=HINT)
    return Statement(files=files, blocks_compared=statement.predicate.c2t_blocks_compared)


def _root(digests: list[str]) -> str:
    """SHA-256 over the digests of all files, in the order of the statement."""
    return hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest()
