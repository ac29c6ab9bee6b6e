"""What was built of a signed bundle runs in its place: it must be signed with the same key."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed: c2t[trust]")
pytest.importorskip("onnx", reason="onnx is not installed: c2t[gpu]")
from c2t.kernels.decoder_step.cpu import step_kernels
from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
from c2t.runtime.build.build_packed import build_packed
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.commands.sign import sign
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.built.folder import check_built_signature
from c2t.runtime.engines.built.half_graphs import open_half_graphs
from c2t.runtime.engines.built.packed_weights import find_packed_set
from c2t.runtime.engines.table import ENGINES
from c2t.runtime.system.errors import EngineError


@pytest.fixture
def bundle(signed, keys):
    return open_bundle(signed, trust=keys.public)


@pytest.fixture
def built(bundle, tmp_path):
    return Path(build_half_graphs(bundle, HalfGraphsOptions(cache=tmp_path / "built")).folder)


def refused(bundle, built, match):
    with pytest.raises(EngineError, match=match) as caught:
        open_half_graphs(bundle, built.parent)
    assert f"c2t sign {built}" in caught.value.hint


def test_half_precision_graphs(signed, bundle, built, keys, other_keys):
    assert open_half_graphs(open_bundle(signed), built.parent) == built
    refused(bundle, built, "is not signed")
    sign(built, other_keys.private)
    refused(bundle, built, "another key")
    sign(built, keys.private, force=True)
    assert open_half_graphs(bundle, built.parent) == built
    (built / "more").touch()
    refused(bundle, built, "not signed: more")
    (built / "more").unlink()
    # Who can write the record can make its hashes fit, but not the signature.
    record = built / "plans.json"
    record.write_bytes(record.read_bytes() + b" ")
    refused(bundle, built, r"not what was signed: plans\.json")


def test_files_that_are_used_must_be_those_that_were_signed(bundle, built, keys):
    sign(built, keys.private)
    with pytest.raises(EngineError, match="not what was signed: encoder"):
        check_built_signature(built, {"encoder.onnx": "0" * 64}, bundle)
    with pytest.raises(EngineError, match="not what was signed: stranger"):
        check_built_signature(built, {"stranger.plan": "0" * 64}, bundle)


def test_plans_that_nobody_can_sign_are_not_made(bundle):
    with pytest.raises(EngineError, match="cannot be signed"):
        ENGINES["tensorrt-ep"].open(bundle, EngineOptions(), None)


@pytest.mark.skipif(step_kernels() is None, reason="no step kernel runs here")
def test_packed_weights(signed, bundle, keys, tmp_path):
    built = Path(build_packed(bundle, cache=tmp_path / "packed").folder)

    def refused_packed(match):
        with pytest.raises(EngineError, match=match) as caught:
            find_packed_set(bundle, built.parent)
        assert f"c2t sign {built}" in caught.value.hint

    assert find_packed_set(open_bundle(signed), built.parent) is not None
    refused_packed("is not signed")
    sign(built, keys.private)
    assert find_packed_set(bundle, built.parent) is not None
    record = built / "plans.json"
    record.write_bytes(record.read_bytes() + b" ")
    refused_packed(r"not what was signed: plans\.json")
