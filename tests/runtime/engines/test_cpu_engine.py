"""The ONNX Runtime engine: silent, in place, and clear about what fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_data import TinyDecoder, random_vectors, tiny_decoder

from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu import session as onnxruntime_session
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.system.errors import EngineError


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    return tiny_decoder()


def run(decoder: TinyDecoder, cache, rows: np.ndarray, first: int) -> np.ndarray:
    """Logits [T, V] of T rows at cache positions from `first` on, in a cache of one row."""
    length = len(rows)
    step = decoder.engine.bind(cache, (0, 1), length, length)
    step.inputs_embeds[...] = rows
    step.token_ids[...] = -1
    step.position_ids[...] = np.arange(first, first + length)
    step.write_index[...] = first
    step.logit_rows[...] = np.arange(length)
    return step.run()[0].copy()


def test_telemetry_is_off_before_the_library_loads() -> None:
    program = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime':\n"
        "            print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "from c2t.runtime.engines.onnxruntime_library import load_onnxruntime\n"
        "load_onnxruntime()\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1"]


def test_steps_of_any_length_equal_one_run(decoder: TinyDecoder) -> None:
    rows = random_vectors(0, count=20)
    whole = run(decoder, decoder.engine.new_cache(1, 20), rows, 0)
    cache = decoder.engine.new_cache(1, 24)
    parts = [run(decoder, cache, rows[a:b], a) for a, b in ((0, 7), (7, 8), (8, 15), (15, 20))]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_rejected_tokens_leave_no_trace(decoder: TinyDecoder) -> None:
    rows, wrong = random_vectors(0, count=10), random_vectors(1, count=5)
    cache = decoder.engine.new_cache(1, 20)
    run(decoder, cache, rows[:6], 0)
    before = run(decoder, cache, rows[6:7], 6)
    run(decoder, cache, wrong, 7)
    again = run(decoder, cache, rows[6:7], 6)
    np.testing.assert_array_equal(before, again)


def test_a_step_writes_into_its_batch_rows_alone(decoder: TinyDecoder) -> None:
    cache = decoder.engine.new_cache(3, 16)
    bound = decoder.engine.bind(cache, (1, 2), 4, 1)
    bound.inputs_embeds[0] = random_vectors(0, count=4)
    bound.token_ids[0] = -1
    bound.position_ids[0] = np.arange(4)
    bound.write_index[0] = 0
    bound.logit_rows[0, 0] = 3
    first = bound.run().copy()
    np.testing.assert_array_equal(bound.run(), first)
    written = np.abs(cache.buffer).sum(axis=(0, 1, 3, 5))  # [batch rows, cache positions]
    assert (written[1, :4] > 0).all()
    assert not written[[0, 2]].any()
    assert not written[1, 4:].any()


def test_rows_are_saved_loaded_and_moved(decoder: TinyDecoder) -> None:
    cache = decoder.engine.new_cache(4, 6)
    cache.buffer[:] = np.random.default_rng(0).standard_normal(cache.buffer.shape)
    before = cache.buffer.copy()
    saved = cache.save(2, 3)
    cache.load(0, saved)
    np.testing.assert_array_equal(cache.buffer[:, :, 0, :, :3], before[:, :, 2, :, :3])
    np.testing.assert_array_equal(cache.buffer[:, :, 0, :, 3:], before[:, :, 0, :, 3:])
    for sources in ([1, 0, 3, 3], [0, 1, 2, 0], [0, 1, 2, 3]):
        before = cache.buffer.copy()
        cache.gather(sources, 2, 5)
        np.testing.assert_array_equal(cache.buffer[..., 2:5, :], before[:, :, sources][..., 2:5, :])
        np.testing.assert_array_equal(cache.buffer[..., :2, :], before[..., :2, :])
        np.testing.assert_array_equal(cache.buffer[..., 5:, :], before[..., 5:, :])


def test_a_cache_grows_where_there_is_no_room(decoder: TinyDecoder) -> None:
    rows = random_vectors(0, count=200)
    large, cache = decoder.engine.new_cache(1, 256), decoder.engine.growing_cache(1, 200)
    sizes, done = [], 0
    for end in (5, 64, 65, 66, 130, 200):
        cache.make_room(end)
        sizes.append(cache.buffer.shape[4])
        np.testing.assert_array_equal(
            run(decoder, cache, rows[done:end], done), run(decoder, large, rows[done:end], done)
        )
        done = end
    assert sizes == [64, 64, 128, 128, 192, 256]
    np.testing.assert_array_equal(cache.buffer, large.buffer)
    assert (cache.rows, cache.capacity) == (1, 200)


def test_a_cache_that_grows_copies_the_rows_in_use(decoder: TinyDecoder) -> None:
    cache = decoder.engine.growing_cache(3, 100)
    cache.make_room(10)
    decoder.engine.bind(cache, (0, 2), 1, 1)
    cache.buffer[:] = 1.0
    cache.make_room(80)
    kept = cache.buffer.sum(axis=(0, 1, 3, 5)) > 0  # [batch rows, cache positions]
    assert kept[:2, :64].all()
    assert not kept[:, 64:].any()
    assert not kept[2].any()


def test_a_clone_has_buffers_of_its_own(decoder: TinyDecoder) -> None:
    clone = decoder.engine.clone()
    mine = decoder.engine.bind(decoder.engine.new_cache(1, 8), (0, 1), 2, 1)
    others = clone.bind(clone.new_cache(1, 8), (0, 1), 2, 1)
    assert not np.shares_memory(mine.inputs_embeds, others.inputs_embeds)


def test_a_failing_run_says_what_it_ran(decoder: TinyDecoder) -> None:
    bound = decoder.engine.bind(decoder.engine.new_cache(1, 8), (0, 1), 2, 1)
    bound.logit_rows[0, 0] = 5  # there are two tokens
    with pytest.raises(EngineError, match="decoder failed on 1 x 2 tokens"):
        bound.run()
    bound.logit_rows[0, 0] = 1
    assert np.isfinite(bound.run()).all()


def test_graphs_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot open .*none\.onnx"):
        open_session(tmp_path / "none.onnx", EngineOptions())
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    with pytest.raises(EngineError, match="cannot open"):
        open_session(broken, EngineOptions())
    with pytest.raises(EngineError, match="0 threads"):
        open_session(broken, EngineOptions(threads=0))


@pytest.mark.parametrize("has_vnni", [True, False])
def test_weights_become_unsigned_only_where_int8_sums_saturate(
    monkeypatch: pytest.MonkeyPatch, has_vnni: bool
) -> None:
    monkeypatch.setattr(onnxruntime_session, "has_wide_int8_sums", lambda: has_vnni)
    settings = onnxruntime_session.session_settings(EngineOptions(), prepack=True)
    wanted = settings.get_session_config_entry("session.x64quantprecision")
    assert wanted == ("0" if has_vnni else "1")
