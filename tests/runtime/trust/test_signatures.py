"""With a trusted key, a bundle opens only if all of it is signed with that key as it is."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed: c2t[trust]")
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from key_pairs import write_keys
from tiny_data import BUNDLES, DATA
from trust_checks import refused

import c2t
from c2t.runtime.bundle import bundle as bundle_module
from c2t.runtime.bundle import hashes
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.commands.sign import sign
from c2t.runtime.system.errors import BundleError, C2TError, OutputError, TrustError
from c2t.runtime.system.temporaries import temporary_path
from c2t.runtime.trust.keys import SigningKey, TrustedKey

FOREIGN = Path(__file__).parent / "foreign"  # written by model-signing
FOREIGN_SIGNED = DATA / "format_1" / "fp32"  # what it signed there
CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}


@pytest.mark.parametrize("curve", CURVES)
def test_a_signature_of_model_signing_is_accepted(tmp_path, curve):
    folder = shutil.copytree(FOREIGN_SIGNED, tmp_path / "tiny")
    shutil.copy(FOREIGN / f"{curve}.sig", folder / "model.sig")
    assert open_bundle(folder, trust=FOREIGN / f"{curve}.pem").trust is not None
    others = [name for name in CURVES if name != curve]
    for other in others:
        refused(folder, FOREIGN / f"{other}.pem", "signed with another key")


@pytest.mark.parametrize("curve", CURVES)
def test_what_it_signs_is_read_in_its_form(tmp_path, curve):
    """The same fields with the same values, but for what names the keys and the hashes' order."""
    keys = write_keys(tmp_path, "key", ec.generate_private_key(CURVES[curve]))
    folder = shutil.copytree(FOREIGN_SIGNED, tmp_path / FOREIGN_SIGNED.name)
    sign(folder, keys.private)
    ours = json.loads((folder / "model.sig").read_bytes())
    theirs = json.loads((FOREIGN / f"{curve}.sig").read_bytes())
    payloads = [json.loads(base64.b64decode(x["dsseEnvelope"]["payload"])) for x in (ours, theirs)]
    for payload in payloads:
        del payload["predicate"]["serialization"]["ignore_paths"]
    assert payloads[0] == payloads[1]
    for document in (ours, theirs):
        document["dsseEnvelope"]["payload"] = ""
        document["dsseEnvelope"]["signatures"][0]["sig"] = ""
        assert len(document["verificationMaterial"]["publicKey"].pop("hint")) == 64
    assert ours == theirs
    open_bundle(folder, trust=keys.public)


def test_an_encrypted_key_takes_its_password_from_the_environment(tmp_path, monkeypatch):
    keys = write_keys(tmp_path, "k", ec.generate_private_key(ec.SECP256R1()), b"secret")
    monkeypatch.delenv("C2T_KEY_PASSWORD", raising=False)
    with pytest.raises(TrustError, match="is encrypted") as caught:
        SigningKey.read(keys.private)
    assert "C2T_KEY_PASSWORD" in caught.value.hint
    monkeypatch.setenv("C2T_KEY_PASSWORD", "wrong")
    with pytest.raises(TrustError, match="password of C2T_KEY_PASSWORD"):
        SigningKey.read(keys.private)
    monkeypatch.setenv("C2T_KEY_PASSWORD", "secret")
    assert SigningKey.read(keys.private).fingerprint == TrustedKey.read(keys.public).fingerprint


def bad_keys(folder, keys):
    files = {
        "empty": b"",
        "text": b"hello",
        "cut": keys.public.read_bytes()[:90],
        "binary": bytes(range(256)),
        "long": b"A" * (70 << 10),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
        yield folder / name
    yield write_keys(folder, "rsa", rsa.generate_private_key(65537, 2048)).public
    yield write_keys(folder, "ed25519", ed25519.Ed25519PrivateKey.generate()).public
    yield write_keys(folder, "k1", ec.generate_private_key(ec.SECP256K1())).public
    yield write_keys(folder, "p224", ec.generate_private_key(ec.SECP224R1())).public
    yield folder / "not_there"
    yield folder
    yield keys.private


def test_bad_public_keys(tmp_path, signed, keys):
    for key in bad_keys(tmp_path, keys):
        refused(signed, key, ".")


def test_bad_private_keys(tmp_path, keys):
    folder = shutil.copytree(BUNDLES["mlp"], tmp_path / "unsigned")
    (tmp_path / "keys").mkdir()
    bad = [path for path in bad_keys(tmp_path / "keys", keys) if path != keys.private]
    for key in [*bad, *(path.with_suffix(".key") for path in bad), keys.public]:
        with pytest.raises(TrustError) as caught:
            sign(folder, key)
        assert caught.value.hint
        assert "\n" not in caught.value.problem + caught.value.hint
    assert not (folder / "model.sig").exists()


def change_one(folder, number, generator):
    """Change, add or remove one file; says what is named in the error."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "model.sig")
    name = names[number // 3 % len(names)]
    path = folder / name
    match number % 3:
        case 0:
            content = bytearray(path.read_bytes())
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
            path.write_bytes(content)
        case 1:
            path.unlink()
        case _:
            places = [f"{name}.bak", ".hidden", "README.md", f"more/{name}", "a/b/c"]
            name = places[number // 3 % len(places)]
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(generator.randbytes(generator.randrange(3)))
    return name


def test_one_changed_added_or_removed_file_is_refused_100_of_100(signed_once, tmp_path, keys):
    generator = random.Random(16)
    for number in range(100):
        folder = shutil.copytree(signed_once, tmp_path / f"bundle{number}")
        name = change_one(folder, number, generator)
        with pytest.raises(BundleError) as caught:
            open_bundle(folder, trust=keys.public)
        # A changed manifest may name another file, or none.
        if name != "manifest.json":
            assert name in caught.value.problem, number
        shutil.rmtree(folder)


def test_changes_whose_hashes_were_made_to_fit(signed, keys):
    """Who changes a file can change the manifest, too; the signature still says what it was."""
    golden = signed / "golden.json"
    golden.write_bytes(golden.read_bytes().swapcase())
    manifest = json.loads((signed / "manifest.json").read_bytes())
    manifest["files"]["golden.json"]["sha256"] = hashes.sha256_of(golden)
    (signed / "manifest.json").write_text(json.dumps(manifest))
    open_bundle(signed)
    refused(signed, keys.public, r"not what was signed: manifest\.json")


def test_a_renamed_file(signed, keys):
    (signed / "golden.json").rename(signed / "Golden.json")
    refused(signed, keys.public, r"not signed: Golden\.json")


@pytest.mark.parametrize("name", ["golden.json", "manifest.json", "model.sig"])
def test_links(signed, tmp_path, keys, name):
    (signed / name).rename(tmp_path / name)
    (signed / name).symlink_to(tmp_path / name)
    refused(signed, keys.public, "link")


def test_an_added_link(signed, keys):
    (signed / "latest").symlink_to("golden.json")
    refused(signed, keys.public, "links or devices.*latest")


def test_an_added_pipe(signed, keys):
    os.mkfifo(signed / "pipe")
    refused(signed, keys.public, "links or devices.*pipe")


def test_unsigned(tmp_path, keys):
    folder = shutil.copytree(BUNDLES["mlp"], tmp_path / "tiny")
    refused(folder, keys.public, "is not signed")


def test_another_key(signed, other_keys):
    refused(signed, other_keys.public, "signed with another key")


def test_another_key_that_calls_itself_ours(signed, keys, other_keys):
    """What names the key is not signed: only the signature itself counts."""
    (signed / "model.sig").unlink()
    sign(signed, other_keys.private)
    document = json.loads((signed / "model.sig").read_bytes())
    for hint in (TrustedKey.read(keys.public).fingerprint, "", None):
        document["verificationMaterial"]["publicKey"]["hint"] = hint
        (signed / "model.sig").write_text(json.dumps(document))
        refused(signed, keys.public, "no signature of the key")


def test_the_signature_of_another_bundle(signed, tmp_path, keys):
    other = shutil.copytree(BUNDLES["perceiver"], tmp_path / "other")
    sign(other, keys.private)
    shutil.copy(other / "model.sig", signed / "model.sig")
    refused(signed, keys.public, "signed")


def test_each_file_is_hashed_once(signed, keys, monkeypatch):
    (signed / "NOTE.md").write_text("for people")
    sign(signed, keys.private, force=True)
    hashed = []
    real = hashes._hashed
    monkeypatch.setattr(
        hashes, "_hashed", lambda f, part, p: hashed.append(part.name) or real(f, part, p)
    )
    bundle = open_bundle(signed, trust=keys.public)
    for name in bundle.manifest.files:
        bundle.file(name)
    assert sorted(hashed) == sorted([*bundle.manifest.files, "NOTE.md"])


def test_unhashed_files_of_a_signed_bundle_are_hashed_before_use(signed, keys):
    data = signed / "decoder.onnx.data"
    content = bytearray(data.read_bytes())
    content[7] ^= 1
    data.write_bytes(content)
    bundle = open_bundle(signed, trust=keys.public, verify=False)
    for name in ("golden.json", "encoder.onnx"):
        bundle.file(name)
    for name in ("decoder.onnx", "decoder.onnx.data"):
        with pytest.raises(BundleError, match=r"SHA-256 differs\): decoder\.onnx\.data"):
            bundle.file(name)
    with pytest.raises(BundleError, match=r"SHA-256 differs\): decoder\.onnx\.data"):
        _ = bundle.token_embedding
    assert GRAPHS[0] in bundle.manifest.files


def test_nothing_is_parsed_before_the_signature_was_checked(signed, other_keys, monkeypatch):
    def fail(*_: object) -> None:
        raise AssertionError

    for name in ("parse_manifest", "check_files", "check_graph"):
        monkeypatch.setattr(bundle_module, name, fail)
    refused(signed, other_keys.public, "another key")


def test_c2t_open_takes_the_key_of_the_environment(signed, keys, other_keys, monkeypatch):
    with c2t.open(signed, trust=keys.public) as model:
        assert model.bundle.trust.fingerprint == TrustedKey.read(keys.public).fingerprint
    monkeypatch.setenv("C2T_TRUST", str(other_keys.public))
    with pytest.raises(TrustError, match="another key"):
        c2t.open(signed)
    with c2t.open(signed, trust=keys.public):
        pass
    monkeypatch.setenv("C2T_TRUST", "")
    with c2t.open(signed) as model:
        assert model.bundle.trust is None


def test_signing_refuses_what_is_no_bundle_as_it_was_written(tmp_path, keys):
    folder = shutil.copytree(BUNDLES["mlp"], tmp_path / "tiny")
    golden = folder / "golden.json"
    golden.write_bytes(golden.read_bytes().swapcase())
    with pytest.raises(BundleError, match="SHA-256 differs"):
        sign(folder, keys.private)
    with pytest.raises(BundleError, match="is not a bundle"):
        sign(tmp_path, keys.private)
    assert not list(tmp_path.rglob("model.sig"))


def test_what_a_killed_run_left_is_not_signed(signed, keys):
    litter = temporary_path(signed / "model.sig")
    litter = litter.with_name(litter.name.replace(f"-{os.getpid()}-", "-1999999999-"))
    litter.touch()
    refused(signed, keys.public, r"not signed: \.model\.sig")
    sign(signed, keys.private, force=True)
    assert not litter.exists()
    open_bundle(signed, trust=keys.public)


def test_without_cryptography_the_hint_names_the_extra(signed, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for action in (
        lambda: open_bundle(signed, trust=keys.public),
        lambda: sign(signed, keys.private, force=True),
    ):
        with pytest.raises(TrustError, match="need cryptography") as caught:
            action()
        assert "c2t[trust]" in caught.value.hint
    open_bundle(signed)


def test_model_signing_accepts_ours(signed, keys):
    verifying = pytest.importorskip("model_signing.verifying", reason="not installed")
    config = verifying.Config().use_elliptic_key_verifier(public_key=keys.public)
    config.verify(signed, signed / "model.sig")
    (signed / "golden.json").write_text("{}")
    with pytest.raises(ValueError, match=r"Hash mismatch for .*golden\.json"):
        config.verify(signed, signed / "model.sig")


def test_signing_again_needs_force(signed, keys, other_keys):
    before = (signed / "model.sig").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        sign(signed, other_keys.private)
    assert (signed / "model.sig").read_bytes() == before
    sign(signed, other_keys.private, force=True)
    open_bundle(signed, trust=other_keys.public)


@pytest.mark.parametrize("name", [".gitattributes", ".git/config", "a\nb", "link"])
def test_files_that_cannot_be_signed(tmp_path, keys, name):
    folder = shutil.copytree(BUNDLES["mlp"], tmp_path / "tiny")
    (folder / name).parent.mkdir(exist_ok=True)
    if name == "link":
        (folder / name).symlink_to("golden.json")
    else:
        (folder / name).write_text("x")
    with pytest.raises(C2TError) as caught:
        sign(folder, keys.private)
    assert caught.value.hint
    assert not (folder / "model.sig").exists()
