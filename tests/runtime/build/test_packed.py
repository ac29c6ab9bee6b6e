"""Weights packed for this machine's CPU: made whole, found again, used as they were compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from family_bundles import bundle_of

from c2t.export.decoders.families import FAMILIES
from c2t.kernels.decoder_step.cpu import step_kernels
from c2t.runtime.build.build_packed import build_packed
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.checked_files import CheckedFiles
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.built import packed_weights
from c2t.runtime.engines.built.folder import CACHE_VARIABLE
from c2t.runtime.engines.built.packed_weights import PANELS_NAME, find_packed_set
from c2t.runtime.engines.built.plan_set import PLANS_NAME
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.open import open_engines
from c2t.runtime.system.errors import EngineError, OutputError

pytestmark = pytest.mark.skipif(step_kernels() is None, reason="no step kernel runs here")
PACKED = "with weights packed on"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, where engines look too."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["fp32", "int8"])
def bundle(bundles: dict[tuple[str, str], Bundle], request: pytest.FixtureRequest) -> Bundle:
    return bundles["mlp", request.param]


def opened(bundle: Bundle, **options: object) -> tuple[OnnxRuntimeDecoder, str]:
    engines = open_engines(bundle, EngineOptions(**options))  # type: ignore[arg-type]
    decoder = engines.decoder
    assert isinstance(decoder, OnnxRuntimeDecoder)
    return decoder, engines.settings.get("steps", "")


def logits(decoder: OnnxRuntimeDecoder) -> bytes:
    """Of steps of several lengths, one behind the other."""
    cache, found, first = decoder.new_cache(2, 12), b"", 0
    for tokens in (1, 5, 3):
        step = decoder.bind(cache, (0, 2), tokens, tokens)
        step.token_ids[:] = np.random.default_rng(tokens).integers(0, 20, (2, tokens))
        step.position_ids[:] = np.arange(first, first + tokens)
        step.write_index[:] = first
        step.logit_rows[:] = np.arange(tokens)
        found += step.run().tobytes()
        first += tokens
    return found


def test_the_same_numbers_from_weights_that_lie_in_a_file(bundle: Bundle, cache: Path) -> None:
    plain, said = opened(bundle)
    assert PACKED not in said
    lines: list[str] = []
    done = build_packed(bundle, report=lines.append)
    assert len(lines) == 2
    assert not done.found
    folder = Path(done.folder)
    assert folder.parent == cache
    assert {path.name for path in folder.iterdir()} == {PANELS_NAME, PLANS_NAME}
    packed, said = opened(bundle)
    assert PACKED in said
    assert logits(packed) == logits(plain) == logits(packed.clone())
    assert packed.session is None
    again = build_packed(bundle)
    assert again.found
    assert again.record == done.record
    assert not build_packed(bundle, force=True).found


def test_the_decoder_s_data_is_not_read_again(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the token table, which is looked up in it."""
    build_packed(bundle)
    read: list[str] = []
    need = CheckedFiles.need

    def note(self: CheckedFiles, names: object) -> None:
        read.extend(names)  # type: ignore[call-overload]
        need(self, names)  # type: ignore[arg-type]

    monkeypatch.setattr(CheckedFiles, "need", note)
    fresh = open_bundle(bundle.path, verify=False)
    fresh.check_on_use()
    _, said = opened(fresh)
    assert PACKED in said
    assert "decoder.onnx" in read
    assert "decoder.onnx.data" not in read


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(tmp_path: Path, cache: Path, family: str) -> None:
    bundle = bundle_of(tmp_path / "bundle", family)
    plain, _ = opened(bundle)
    build_packed(bundle)
    packed, said = opened(bundle)
    assert PACKED in said
    assert logits(packed) == logits(plain)


@pytest.mark.parametrize(
    "options", [{"prepack": False}, {"step_kernel": False}], ids=["mapped", "no kernel"]
)
def test_not_used_where_our_kernel_is_not_wanted(
    bundle: Bundle, cache: Path, options: dict[str, bool]
) -> None:
    build_packed(bundle)
    assert PACKED not in opened(bundle, **options)[1]


def test_not_used_by_another_library_or_processor(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_packed(bundle)
    assert find_packed_set(bundle) is not None
    here = packed_weights.packed_identity_of(bundle)
    assert here is not None
    for name in ("library_sha256", "processor", "isa", "bundle_sha256"):
        other = replace(here[0], **{name: "another"})
        monkeypatch.setattr(packed_weights, "packed_identity_of", lambda _, o=other: (o, here[1]))
        assert find_packed_set(bundle) is None
        assert PACKED not in opened(bundle)[1]


def change(folder: Path, change_record: Callable[[dict], object]) -> None:
    """Change the record, as someone would who can write there."""
    path = folder / PLANS_NAME
    record = json.loads(path.read_text())
    change_record(record)
    path.write_text(json.dumps(record))


def refused(bundle: Bundle, match: str) -> None:
    with pytest.raises(EngineError, match=match) as caught:
        opened(bundle)
    assert f"c2t build {bundle.path} --target cpu --force" in (caught.value.hint or "")


def test_a_changed_byte_is_refused(bundle: Bundle, cache: Path) -> None:
    folder = Path(build_packed(bundle).folder)
    panels = folder / PANELS_NAME
    content = bytearray(panels.read_bytes())
    content[len(content) // 3] ^= 1
    panels.write_bytes(content)
    refused(bundle, "was changed since it was built")
    panels.write_bytes(content[:-1])
    refused(bundle, f"has {len(content) - 1:,} bytes|has {len(content) - 1} bytes")


def test_other_weights_under_hashes_that_fit_are_refused(bundle: Bundle, cache: Path) -> None:
    """In every array of weights, also those of queries and keys."""
    done = build_packed(bundle)
    folder = Path(done.folder)
    panels = folder / PANELS_NAME
    content = panels.read_bytes()
    linears = [array for array in done.record.arrays if len(array.shape) > 2]
    assert len(linears) > 8
    for array in linears:
        changed = bytearray(content)
        changed[array.offset + 3] ^= 0x80  # of a float32 the sign
        panels.write_bytes(changed)
        entry = msgspec.to_builtins(file_entries(folder, [PANELS_NAME]))
        change(folder, lambda record, e=entry: record.update(files=e))
        refused(bundle, "gives other numbers than when it was built")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda r: r["arrays"][0].update(offset=1 << 40), "of .* bytes"),
        (lambda r: r["arrays"][0].update(offset=-64), "at -64"),
        (lambda r: r["arrays"][0].update(offset=3), "at 3 of"),
        (lambda r: r["arrays"][0]["shape"].__setitem__(0, 1), "in place of"),
        (lambda r: r["arrays"][0]["shape"].__setitem__(0, -1), "at 0 of"),
        (lambda r: r["arrays"][0].update(dtype="object"), "object"),
        (lambda r: r["arrays"].pop(), "have none in place of"),
        (lambda r: r["arrays"].append(r["arrays"][0]), "more than the model"),
        (lambda r: r["input_scales"].append(1.0), "more than the model"),
        (lambda r: r["identity"].update(isa="scalar"), "is not the record"),
        (lambda r: r["files"].clear(), "is not the record"),
        (lambda r: r.update(format_version=99), "has format 99"),
        (lambda r: r.pop("step_sha256"), "step_sha256"),
    ],
)
def test_a_forged_record_is_refused(
    bundle: Bundle, cache: Path, what: Callable[[dict], object], message: str
) -> None:
    folder = Path(build_packed(bundle).folder)
    change(folder, what)
    with pytest.raises(EngineError, match=message) as caught:
        opened(bundle)
    assert "\n" not in caught.value.problem


def test_scales_that_are_none(bundles: dict[tuple[str, str], Bundle], cache: Path) -> None:
    bundle = bundles["mlp", "int8"]
    folder = Path(build_packed(bundle).folder)
    change(folder, lambda record: record["input_scales"].__setitem__(0, 0.0))
    refused(bundle, r"an input scale of 0\.0")


def test_nothing_is_left_of_a_set_that_cannot_be_opened(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2t.runtime.build.build_packed.step_digest", lambda _: "0" * 64)
    with pytest.raises(EngineError, match="other numbers"):
        build_packed(bundle)
    assert find_packed_set(bundle) is None
    assert [path.name for path in cache.iterdir() if path.name.startswith("cpu-")] == []


def test_a_decoder_that_our_kernel_does_not_run_is_refused(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "c2t.runtime.engines.cpu.kernel_step.sizes_problem", lambda _: "a head size of 7"
    )
    with pytest.raises(EngineError, match="without our kernel: a head size of 7"):
        build_packed(bundle)
    assert not any(cache.iterdir())


def test_a_disk_without_room_is_refused_before_the_work(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = bundle.manifest.files["decoder.onnx.data"].bytes
    usage = shutil.disk_usage(cache.parent)._replace(free=wanted - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    lines: list[str] = []
    with pytest.raises(OutputError, match="MB left; packed weights take"):
        build_packed(bundle, report=lines.append)
    assert lines == []
