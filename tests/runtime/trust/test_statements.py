"""Statements and envelopes that a stranger, or the holder of the key, has changed."""

from __future__ import annotations

import base64
import json

import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed: c2t[trust]")
from trust_checks import refused

from c2t.runtime.bundle import hashes
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.trust.envelope import seal
from c2t.runtime.trust.keys import SigningKey
from c2t.runtime.trust.statement import write_statement


def files_of(folder):
    return {path.name: hashes.sha256_of(path) for path in folder.iterdir()}


def reseal(folder, keys, change):
    """Sign another statement with the trusted key itself."""
    files = files_of(folder)
    del files["model.sig"]
    document = json.loads(write_statement("tiny", files))
    change(document)
    sealed = seal(json.dumps(document).encode(), SigningKey.read(keys.private))
    (folder / "model.sig").write_bytes(sealed)


def set_at(*path):
    *places, last, value = path

    def change(document):
        for place in places:
            document = document[place]
        document[last] = value

    return change


def drop_the_first(document):
    document["predicate"]["resources"].pop(0)


def repeat_the_first(document):
    document["predicate"]["resources"].append(document["predicate"]["resources"][0])


def swap_two(document):
    resources = document["predicate"]["resources"]
    resources[0]["digest"], resources[1]["digest"] = resources[1]["digest"], resources[0]["digest"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (set_at("_type", "https://in-toto.io/Statement/v0.1"), "another kind"),
        (set_at("predicateType", "https://model_signing/Digests/v0.1"), "another kind"),
        (set_at("predicate", "serialization", "method", "shards"), "shards by sha256"),
        (set_at("predicate", "serialization", "hash_type", "blake3"), "files by blake3"),
        (set_at("predicate", "resources", 0, "algorithm", "md5"), "no SHA-256 of"),
        (set_at("predicate", "resources", 0, "digest", "0" * 63), "no SHA-256 of"),
        (set_at("predicate", "resources", 0, "digest", 7), "is not the signature"),
        (set_at("predicate", "resources", []), "contradicts itself"),
        (set_at("subject", []), "contradicts itself"),
        (set_at("subject", 0, "digest", {}), "contradicts itself"),
        (drop_the_first, "contradicts itself"),
        (swap_two, "contradicts itself"),
        (repeat_the_first, "twice"),
    ],
)
def test_other_statements_of_the_trusted_key(signed, keys, change, match):
    reseal(signed, keys, change)
    refused(signed, keys.public, match)


def test_a_statement_cannot_ask_to_ignore_files(signed, keys):
    (signed / "extra.onnx").write_bytes(b"x")

    def ignore(document):
        resources = document["predicate"]["resources"]
        document["predicate"]["resources"] = [r for r in resources if r["name"] != "extra.onnx"]
        document["predicate"]["serialization"]["ignore_paths"] = [".", "extra.onnx"]
        listed = [r["digest"] for r in document["predicate"]["resources"]]
        root = hashes.hashlib.sha256(bytes.fromhex("".join(listed))).hexdigest()
        document["subject"][0]["digest"]["sha256"] = root

    reseal(signed, keys, ignore)
    refused(signed, keys.public, r"not signed: extra\.onnx")


def test_more_fields_in_a_statement_are_not_looked_at(signed, keys):
    reseal(signed, keys, set_at("predicate", "card", {"by": "us"}))
    open_bundle(signed, trust=keys.public)


def test_manipulated_envelopes(signed, keys):
    original = json.loads((signed / "model.sig").read_bytes())
    payload = base64.b64decode(original["dsseEnvelope"]["payload"])
    other = payload.replace(b"golden", b"Golden")
    two = original["dsseEnvelope"]["signatures"] * 2
    changes = [
        set_at("mediaType", "application/vnd.dev.sigstore.bundle.v0.2+json"),
        set_at("dsseEnvelope", "payloadType", "text/plain"),
        set_at("dsseEnvelope", "payload", base64.b64encode(other).decode()),
        set_at("dsseEnvelope", "payload", ""),
        set_at("dsseEnvelope", "payload", "!!!"),
        set_at("dsseEnvelope", "payload", "ä"),
        set_at("dsseEnvelope", "signatures", []),
        set_at("dsseEnvelope", "signatures", two),
        set_at("dsseEnvelope", "signatures", 0, "sig", ""),
        set_at("dsseEnvelope", "signatures", 0, "sig", "AAAA"),
        set_at("dsseEnvelope", "signatures", None),
        set_at("verificationMaterial", {}),
        set_at("verificationMaterial", {"x509CertificateChain": {"certificates": []}}),
        set_at("dsseEnvelope", None),
    ]
    for change in changes:
        document = json.loads(json.dumps(original))
        change(document)
        (signed / "model.sig").write_text(json.dumps(document))
        refused(signed, keys.public, ".")
    (signed / "model.sig").write_text(json.dumps(original))
    open_bundle(signed, trust=keys.public)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[" * 1_000_000,
        b'{"mediaType":' * 100_000,
        b'{"verificationMaterial":{"tlogEntries":' + b"[" * 500_000,
        b"\xff\xfe",
        b" " * ((4 << 20) + 1),
    ],
    ids=["empty", "null", "brackets", "braces", "nested", "no text", "long"],
)
def test_bombs(signed, keys, content):
    (signed / "model.sig").write_bytes(content)
    refused(signed, keys.public, "is not a signature")


def test_deep_statements(signed, keys):
    for bomb in (b"[" * 500_000, b'{"_type":' * 100_000):
        sealed = seal(bomb, SigningKey.read(keys.private))
        (signed / "model.sig").write_bytes(sealed)
        refused(signed, keys.public, "is not the signature of a model")
