"""`c2t sign`, and `--trust` on every command that opens a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer.main

pytest.importorskip("cryptography", reason="cryptography is not installed: c2t[trust]")
from cli_process import Command
from key_pairs import KeyPair, new_keys

from c2t.cli import app


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return new_keys(tmp_path)


@pytest.fixture
def signed(bundle: Path, tmp_path: Path, keys: KeyPair, call_c2t: Command) -> Path:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    done = call_c2t("sign", folder, "--key", keys.private)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1].startswith(f"wrote {folder / 'model.sig'}: 11 files")
    return folder


# What opens a bundle, with what it needs besides. Those of the second part need c2t[dev].
OPENING = {
    "describe": ("describe", "BUNDLE", "CELLS"),
    "annotate": ("annotate", "BUNDLE", "CELLS", "--labels", "LABELS"),
    "explain": ("explain", "BUNDLE", "CELLS", "--limit", "1", "--runs", "48"),
    "embed": ("embed", "BUNDLE", "CELLS", "-o", "VECTORS"),
    "search": ("search", "BUNDLE", "CELLS", "a T cell"),
    "ask": ("ask", "BUNDLE", "CELLS", "What is it?"),
    "verify": ("verify", "BUNDLE"),
    "info": ("info", "BUNDLE"),
    "bench": ("bench", "BUNDLE", "--limit", "1", "--repeats", "1"),
}
STAGES = {
    "calibrate": ("calibrate", "BUNDLE", "CELLS", "-o", "OUT"),
    "evaluate": ("evaluate", "BUNDLE", "CELLS"),
    "build": ("build", "BUNDLE", "--target", "cuda"),
}


SERVING = (("serve", "BUNDLE", "--port", "0"), ("serve", "BUNDLE", "--stdio"))


def test_every_command_that_takes_a_bundle_is_here() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    trusting = {
        name for name, command in commands.items() for p in command.params if "--trust" in p.opts
    }
    opening = {
        name
        for name, command in commands.items()
        if any("BUNDLE" in (p.metavar or "") for p in command.params)
    }
    assert trusting == {*OPENING, *STAGES, "serve"}
    assert opening - {"sign"} <= trusting


def words(command: tuple[str, ...], bundle: Path, cells: Path, out: Path) -> list[str]:
    labels = bundle.with_name("labels.txt")
    labels.write_text("B cell\nT cell\n")
    places = {"BUNDLE": bundle, "CELLS": cells, "OUT": out, "LABELS": labels}
    places["VECTORS"] = out / "vectors.npz"
    return [str(places.get(word, word)) for word in command]


def refused_everywhere(
    command: tuple[str, ...], call: tuple[Path, Path, Path], key: Path, call_c2t: Command
) -> None:
    done = call_c2t(*words(command, *call), "--trust", key)
    error, hint = done.stderr.splitlines()[-2:]
    assert (done.returncode, done.stdout) == (1, "")
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("name", OPENING)
def test_trust(
    name: str, signed: Path, cells: Path, tmp_path: Path, keys: KeyPair, call_c2t: Command
) -> None:
    # The tiny bundle's texts say no cell type that could be explained; nor can it search or answer.
    if name not in ("bench", "explain", "search", "ask"):
        done = call_c2t(*words(OPENING[name], signed, cells, tmp_path), "--trust", keys.public)
        assert done.returncode == 0, done.stderr
    other = new_keys(tmp_path, "other")
    call = (signed, cells, tmp_path / "out")
    refused_everywhere(OPENING[name], call, other.public, call_c2t)
    # Large files, which only hashing shows; and one that is not a bundle's.
    data = signed / "decoder.onnx.data"
    content = bytearray(data.read_bytes())
    content[100] ^= 4
    data.write_bytes(content)
    refused_everywhere(OPENING[name], call, keys.public, call_c2t)
    content[100] ^= 4
    data.write_bytes(content)
    (signed / "extra").touch()
    refused_everywhere(OPENING[name], call, keys.public, call_c2t)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", STAGES)
def test_trust_of_the_other_stages(
    name: str, signed: Path, cells: Path, tmp_path: Path, keys: KeyPair, call_c2t: Command
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: c2t[calibrate]")
    call = (signed, cells, tmp_path / "out")
    refused_everywhere(STAGES[name], call, new_keys(tmp_path, "other").public, call_c2t)
    (signed / "extra").touch()
    refused_everywhere(STAGES[name], call, keys.public, call_c2t)
    assert not (tmp_path / "out").exists()
    assert not signed.with_name("bundle.engines").exists()


@pytest.mark.parametrize("command", SERVING, ids=["http", "stdio"])
def test_trust_of_services(
    command: tuple[str, ...],
    signed: Path,
    tmp_path: Path,
    keys: KeyPair,
    call_c2t: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: c2t[serve]")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    call = (signed, tmp_path, tmp_path)
    refused_everywhere(command, call, new_keys(tmp_path, "other").public, call_c2t)
    data = signed / "decoder.onnx.data"
    data.write_bytes(data.read_bytes()[::-1])
    refused_everywhere(command, call, keys.public, call_c2t)


def test_the_environment_makes_it_the_rule(
    bundle: Path, signed: Path, keys: KeyPair, call_c2t: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C2T_TRUST", str(keys.public))
    done = call_c2t("info", bundle)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {bundle} is not signed")
    done = call_c2t("info", signed)
    assert done.returncode == 0
    assert "with the trusted key" in done.stdout
    monkeypatch.setenv("C2T_TRUST", "")
    assert call_c2t("info", bundle).returncode == 0


def test_bad_keys_leave_nothing(bundle: Path, tmp_path: Path, call_c2t: Command) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    (tmp_path / "bad.pem").write_text(
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    )
    for key in (tmp_path / "bad.pem", tmp_path / "none.pem", tmp_path):
        done = call_c2t("sign", folder, "--key", key)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 2
        refused_everywhere(("info", "BUNDLE"), (folder, tmp_path, tmp_path), key, call_c2t)
    assert not (folder / "model.sig").exists()
