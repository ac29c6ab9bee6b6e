"""The kernel of a whole decoder step, emulated on the host, against ONNX Runtime's CPU engine.

Nothing here is executed on a GPU; benchmarks/gpu_engines.py does that where there is one.
"""

import ctypes
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes.cuda_driver import FakeDevice
from onnx import numpy_helper
from tiny_decoder import make_decoder

from c2t.kernels.cuda.compile import SOURCES, source_path
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step import cuda as cuda_decoder_step
from c2t.kernels.decoder_step.cuda import (
    MAX_ROWS,
    MOST_IN_GROUP,
    MOST_TILES,
    HostDecoder,
    HostLayer,
    Ring,
    StepArguments,
    StepScratch,
    StepSizes,
    launch_decoder_step,
    pack_decoder,
    runs_steps,
    step_ring,
)

HERE = Path(__file__).parent
WARPS, FINISHERS = 4, 2  # of the emulated blocks: threads of the host are dear
BLOCKS = 2
CAPACITY = 80
MATRICES = ("qkv", "output", "gate_up", "down")
TOLERANCE = 5e-3  # of the largest logit: weights, keys and values have the 11 bits of float16


class EmulatedDevice(FakeDevice):
    """A device whose kernels are the CUDA sources, compiled for the host."""

    shared_bytes = 48_000
    multiprocessors = BLOCKS

    def __init__(self, folder):
        self.folder = folder
        self.libraries = {}

    def library(self, defines):
        key = tuple(sorted(defines.items()))
        if key not in self.libraries:
            compiler = shutil.which("g++")
            if compiler is None:
                pytest.skip("no g++ here")
            target = self.folder / f"step{len(self.libraries)}.so"
            command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-pthread"]
            command += [f"-I{SOURCES}"]
            command += [f"-D{name}={value}" for name, value in key]
            command += ["-o", str(target), str(HERE / "decoder_step_emulation.cpp")]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stderr
            self.libraries[key] = ctypes.CDLL(str(target))
        return self.libraries[key]

    def launch(self, source, kernel, grid, arguments, **defines):
        if kernel != "pack_weights":
            super().launch(source, kernel, grid, arguments, **defines)
            return
        sizes = StepSizes(
            layers=1,
            hidden_size=16,
            intermediate_size=8,
            heads=1,
            kv_heads=1,
            head_size=16,
            vocabulary=16,
        )
        library = self.library(sizes.macros(8, Ring(1, 3), BLOCKS) | defines)
        library.pack(*(c_argument(a) for a in arguments), ctypes.c_longlong(grid[0]))

    def launch_together(self, source, kernel, threads, shared, arguments, **defines):
        assert threads == 32 * (WARPS + FINISHERS)
        library = self.library(defines | {"C2T_TABLE": 0, "C2T_THREADS": 32})
        library.step(
            ctypes.c_uint(self.multiprocessors),
            ctypes.c_longlong(shared),
            *(c_argument(a) for a in arguments),
        )


def c_argument(value):
    kinds = {np.int32: ctypes.c_int32, np.int64: ctypes.c_int64, np.float32: ctypes.c_float}
    return ctypes.c_void_p(value) if isinstance(value, int) else kinds[type(value)](value)


def weights_of(path):
    """A decoder graph's weights as the kernel takes them."""
    model = onnx.load(path)
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    attributes = {
        (node.op_type, a.name): onnx.helper.get_attribute_value(a)
        for node in model.graph.node
        for a in node.attribute
    }
    (logits,) = (found[n.input[1]] for n in model.graph.node if n.op_type == "Gemm")
    norms = [n.input[1] for n in model.graph.node if n.op_type == "RMSNormalization"]
    layers = [
        HostLayer(
            attention_norm=found[f"layers.{i}.attention.norm.weight"],
            qkv=found[f"layers.{i}.attention.qkv.weight"],
            output=found[f"layers.{i}.attention.output.weight"],
            mlp_norm=found[f"layers.{i}.mlp.norm.weight"],
            gate_up=found[f"layers.{i}.mlp.gate_up.weight"],
            down=found[f"layers.{i}.mlp.down.weight"],
        )
        for i in range(len(norms) // 2)
    ]
    return HostDecoder(
        layers=layers,
        norm=found[norms[-1]],
        logits=logits,
        cosines=found["rotary.cos"],
        sines=found["rotary.sin"],
        epsilon=attributes["RMSNormalization", "epsilon"],
        scale=attributes["Attention", "scale"],
    )


class Emulated:
    """A tiny decoder, packed, beside its engine on the CPU."""

    def __init__(self, folder, **sizes):
        self.tiny = make_decoder(folder, **sizes)
        sizes = self.tiny.engine.sizes
        host = weights_of(folder / "decoder.onnx")
        self.sizes = StepSizes(
            layers=sizes.layers,
            hidden_size=sizes.hidden_size,
            intermediate_size=host.layers[0].down.shape[0],
            heads=sizes.heads,
            kv_heads=sizes.kv_heads,
            head_size=sizes.head_size,
            vocabulary=sizes.vocabulary_size,
        )
        self.device = EmulatedDevice(folder)
        self.weights = pack_decoder(self.device, self.sizes, host)
        self.scratch = StepScratch.allocate(self.sizes)

    def new_cache(self, rows):
        s = self.sizes
        shape = (s.layers, 2, rows, s.kv_heads, CAPACITY, s.head_size)
        return DeviceArray.zeros(shape, np.float16)

    def step(self, cache, embeds, slots, places):
        """Logits [B,R,V] of embeddings [B,T,D] behind `slots` [B] tokens of each row."""
        batch, tokens, _ = embeds.shape
        on_device = [
            DeviceArray.upload(a)
            for a in (
                embeds.astype(np.float16),
                (slots[:, None] + np.arange(tokens)).astype(np.int64),
                slots.astype(np.int64),
                places.astype(np.int64),
            )
        ]
        shape = (batch, places.shape[1], self.sizes.vocabulary)
        logits = DeviceArray.allocate(shape, np.float32)
        launch_decoder_step(
            self.device,
            self.weights,
            self.scratch,
            StepArguments(
                embeds=on_device[0].pointer,
                positions=on_device[1].pointer,
                write_index=on_device[2].pointer,
                logit_rows=on_device[3].pointer,
                cache=cache.pointer,
                cache_stride=batch * self.sizes.kv_heads * CAPACITY * self.sizes.head_size,
                logits=logits.pointer,
                batch=batch,
                tokens=tokens,
                places=places.shape[1],
                capacity=CAPACITY,
            ),
        )
        return logits.download()


@pytest.fixture
def few_threads(driver, monkeypatch):
    monkeypatch.setattr(cuda_decoder_step, "WARPS", WARPS)
    monkeypatch.setattr(cuda_decoder_step, "FINISHERS", FINISHERS)
    monkeypatch.setattr(cuda_decoder_step, "PACK_THREADS", 32)


@pytest.fixture
def emulated(few_threads, tmp_path):
    return Emulated(tmp_path)


def expected_logits(emulated, embeds):
    """Logits [B,T,V] of the CPU's engine for rows that start an empty cache."""
    batch, tokens, _ = embeds.shape
    engine = emulated.tiny.engine
    cache = engine.new_cache(batch, CAPACITY)
    step = engine.bind(cache, (0, batch), tokens, tokens)
    step.token_ids[...] = -1
    step.inputs_embeds[...] = embeds
    step.position_ids[...] = np.arange(tokens)
    step.write_index[...] = 0
    step.logit_rows[...] = np.arange(tokens)
    return step.run().copy()


@pytest.mark.parametrize("blocks", [BLOCKS, 5])
def test_a_step_after_another_gives_the_logits_of_the_cpu(
    blocks, few_threads, tmp_path, monkeypatch
):
    """Of five blocks one has no part of the output; one has none of the heads, and attends."""
    monkeypatch.setattr(EmulatedDevice, "multiprocessors", blocks)
    emulated = Emulated(tmp_path)
    draw = np.random.default_rng(0)
    embeds = (
        draw.normal(size=(2, 9, emulated.sizes.hidden_size)).astype(np.float16).astype(np.float32)
    )
    expected = expected_logits(emulated, embeds)
    cache = emulated.new_cache(2)
    slots = np.zeros(2, np.int64)
    found = []
    for begin, end in ((0, 7), (7, 8), (8, 9)):  # 14 rows, then 2 and 2
        every = np.tile(np.arange(end - begin), (2, 1))
        found.append(emulated.step(cache, embeds[:, begin:end], slots + begin, every))
    difference = np.abs(np.concatenate(found, axis=1) - expected).max() / np.abs(expected).max()
    assert difference < TOLERANCE
    assert not emulated.scratch.counters.download().any()


@pytest.mark.parametrize(
    ("shared_bytes", "held", "steps"),
    [(48_000, 2, (0, 16, 32, 48, 64, 66, 69, 70)), (44_000, 1, (0, 16, 17))],
)
def test_wide_heads_long_sums_and_more_slots_than_are_read_at_once(
    shared_bytes, held, steps, few_threads, tmp_path, monkeypatch
):
    """Two tiles in a chunk, a last chunk that is part zero, slots of several turns.

    With more blocks than heads, some attend to tokens behind others of the same step, whose keys
    and values another block writes, and late. Of a chunk's two groups a small ring holds one.
    """
    monkeypatch.setattr(EmulatedDevice, "multiprocessors", 4)
    monkeypatch.setattr(EmulatedDevice, "shared_bytes", shared_bytes)
    emulated = Emulated(tmp_path, hidden_size=256, heads=2, spread=0.1)
    sizes = emulated.sizes
    assert (sizes.chunk, sizes.head_size) == (2, 128)
    assert sizes.intermediate_size % (32 * WARPS * sizes.chunk)
    ring = step_ring(emulated.device, sizes, MAX_ROWS)
    assert (ring.group, min(sizes.chunk // ring.group, ring.groups // 2)) == (1, held)
    draw = np.random.default_rng(4)
    embeds = (
        draw.normal(size=(1, steps[-1], sizes.hidden_size)).astype(np.float16).astype(np.float32)
    )
    expected = expected_logits(emulated, embeds)
    cache = emulated.new_cache(1)
    found = []
    for begin, end in pairwise(steps):
        every = np.arange(end - begin)[None]
        found.append(emulated.step(cache, embeds[:, begin:end], np.array([begin]), every))
    difference = np.abs(np.concatenate(found, axis=1) - expected).max() / np.abs(expected).max()
    assert difference < TOLERANCE


def test_a_cell_without_numbers_costs_the_one_beside_it_nothing(emulated):
    """A block that has attended to one goes on to the other, which has fewer slots."""
    draw = np.random.default_rng(5)
    embeds = draw.normal(size=(2, 1, emulated.sizes.hidden_size)).astype(np.float32)
    slots, places = np.array([5, 0]), np.zeros((2, 1), np.int64)
    bad = np.zeros(emulated.new_cache(2).shape, np.float16)
    bad[:, :, 0, :, :5] = np.inf
    together = emulated.step(DeviceArray.upload(bad), embeds, slots, places)
    alone = emulated.step(emulated.new_cache(1), embeds[1:], slots[1:], places[1:])
    assert together[1].tobytes() == alone[0].tobytes()
    assert np.isnan(together[0]).any()


def test_a_rows_numbers_do_not_depend_on_the_rows_beside_it(emulated):
    draw = np.random.default_rng(1)
    embeds = draw.normal(size=(2, 5, emulated.sizes.hidden_size)).astype(np.float32)
    slots = np.zeros(2, np.int64)
    every = np.tile(np.arange(5), (2, 1))
    together = emulated.step(emulated.new_cache(2), embeds, slots, every)  # 10 rows: for up to 16
    cache = emulated.new_cache(1)
    for begin, end in ((0, 1), (1, 2), (2, 5)):  # up to 8 rows; a token alone, and three
        alone = emulated.step(
            cache, embeds[1:, begin:end], slots[:1] + begin, np.arange(end - begin)[None]
        )
        assert alone[0].tobytes() == together[1, begin:end].tobytes()


def test_logits_are_those_of_the_places_asked_for(emulated):
    draw = np.random.default_rng(2)
    embeds = draw.normal(size=(2, 4, emulated.sizes.hidden_size)).astype(np.float32)
    slots = np.zeros(2, np.int64)
    every = np.tile(np.arange(4), (2, 1))
    whole = emulated.step(emulated.new_cache(2), embeds, slots, every)
    some = emulated.step(emulated.new_cache(2), embeds, slots, np.array([[3], [1]]))
    assert some.tobytes() == np.stack([whole[0, 3:], whole[1, 1:2]]).tobytes()


def test_norms_are_part_of_the_packed_weights(emulated):
    """Fresh models have norms of ones: these have others."""
    draw = np.random.default_rng(3)
    host = weights_of(emulated.device.folder / "decoder.onnx")
    norm = draw.random(emulated.sizes.hidden_size).astype(np.float32) + np.float32(0.5)
    layer = replace(host.layers[0], mlp_norm=norm)
    scaled = replace(layer, mlp_norm=np.ones_like(norm), gate_up=norm[:, None] * layer.gate_up)
    sizes = replace(emulated.sizes, layers=1)

    def packed(**changes):
        weights = pack_decoder(emulated.device, sizes, replace(host, **changes))
        return weights.packed.download().tobytes()

    assert packed(layers=[layer], norm=norm) == packed(layers=[scaled], norm=norm)
    assert packed(layers=[layer], norm=norm) != packed(layers=[scaled])


def test_half_precision_weights_are_packed_as_they_are(emulated):
    """What a set holds: the same numbers as the float32 weights that were rounded to them."""
    host = weights_of(emulated.device.folder / "decoder.onnx")

    def rounded(matrix):
        return matrix.astype(np.float16)

    def packed(convert):
        layers = [
            replace(layer, **{n: convert(getattr(layer, n)) for n in MATRICES})
            for layer in host.layers
        ]
        decoder = replace(host, layers=layers, logits=convert(host.logits))
        return pack_decoder(emulated.device, emulated.sizes, decoder).packed.download()

    halves = packed(rounded)
    assert halves.tobytes() == packed(lambda m: rounded(m).astype(np.float32)).tobytes()
    values = halves.view(np.float16)
    assert np.isin(rounded(host.layers[0].down), values).all()
    assert not np.isnan(values).any()


@pytest.mark.slow
@pytest.mark.parametrize("rows", [8, 16])
def test_nvcc_compiles(rows, tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc here")
    llama = StepSizes(
        layers=16,
        hidden_size=2048,
        intermediate_size=8192,
        heads=32,
        kv_heads=8,
        head_size=64,
        vocabulary=128256,
    )
    command = [nvcc, "-std=c++17", "-fatbin", "-Xptxas", "-v", f"-I{SOURCES}"]
    group = MOST_IN_GROUP[rows]
    macros = llama.macros(rows, Ring(group, MOST_TILES // group), 132)
    command += [f"-D{name}={value}" for name, value in macros.items()]
    command += [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in (80, 86, 89, 90, 120)]
    source = source_path("decoder_step")
    command += ["-o", str(tmp_path / "step.fatbin"), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr, result.stderr
    # Registers spilled to memory stop the stream; with 16 rows a few are.
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", result.stderr)
    assert len(spills) == 10, result.stderr
    assert max(map(int, spills)) <= (0 if rows == 8 else 128), result.stderr


def test_sizes_that_the_kernel_cannot_run():
    fine = StepSizes(
        layers=2,
        hidden_size=64,
        intermediate_size=96,
        heads=4,
        kv_heads=2,
        head_size=16,
        vocabulary=97,
    )
    assert not fine.problem
    for change in (
        {"head_size": 24},
        {"hidden_size": 72},
        {"hidden_size": 8192},
        {"intermediate_size": 100},
        {"heads": 3},
    ):
        assert replace(fine, **change).problem
    device = FakeDevice()
    device.arch, device.shared_bytes = "sm_89", 101_376  # what a workstation's GPU has
    assert runs_steps(device, fine)
    device.shared_bytes = 49_152
    assert not runs_steps(device, fine)
