"""A fake of CUDA's driver and kernels on host memory: tests the GPU engines without a GPU.

Device addresses are host addresses. The driver's copies are memmove. Kernels are their NumPy
definitions. A graph runs on ONNX Runtime's CPU provider at the same addresses. The one stream does
work at once, or records it. Tests with it show that the engines put the right numbers in the right
places; they do not show that a GPU does.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from c2t.kernels.dtypes import TYPE_NUMBER
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
from c2t.kernels.tokens.cuda import PARTIAL_CHOICE_BYTES, choice_pieces
from c2t.kernels.tokens.definition import choose_tokens_reference, token_rows_reference
from c2t.runtime.engines.gpu.graph import DeviceTensor
from c2t.runtime.system.tensor_files import STORAGE

OUT_OF_MEMORY = 2
NAMES = {number: name for name, number in TYPE_NUMBER.items()}


class FakeStream:
    """The one stream: what is started on it is done at once, or recorded to be done later."""

    def __init__(self) -> None:
        self.recorded: list[Callable[[], object]] | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Do it, or record it."""
        if self.recorded is None:
            work()
        else:
            self.recorded.append(work)

    def no_recording(self, what: str) -> None:
        """Fail the test, whatever catches errors, where work is being recorded."""
        if self.recorded is not None:
            pytest.fail(f"while work is recorded, {what}")


STREAM = FakeStream()


class FakeDriver:
    """The functions of `cuda.bindings.driver` that this package calls.

    Attributes:
        graphs: What was recorded, by handle, until it is destroyed.
        executables: What can be launched, likewise.
        launches: How often a graph was launched.
    """

    def __init__(self, memory: int = 1 << 32) -> None:
        self.total = self.free = memory
        self.blocks: dict[int, Any] = {}
        self.graphs: dict[int, list[Callable[[], object]]] = {}
        self.executables: dict[int, list[Callable[[], object]]] = {}
        self.launches = 0
        self._handles = itertools.count(1)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        STREAM.recorded = None  # a test that failed may have left it recording
        driver = pytest.importorskip(
            "cuda.bindings.driver", reason="cuda-bindings is not installed: c2t[gpu]"
        )
        for name in dir(self):
            if name.startswith("cu"):
                monkeypatch.setattr(driver, name, getattr(self, name))

    def cuMemAlloc(self, size: int) -> tuple[int, int]:  # noqa: N802 - the driver's name
        STREAM.no_recording("memory is allocated")
        if size > self.free:
            return OUT_OF_MEMORY, 0
        block = ctypes.create_string_buffer(b"\x2b" * size, size)  # arbitrary contents
        self.blocks[ctypes.addressof(block)] = block
        self.free -= size
        return 0, ctypes.addressof(block)

    def cuMemFree(self, pointer: int) -> tuple[int]:  # noqa: N802
        STREAM.no_recording("memory is freed")
        self.free += len(self.blocks.pop(pointer))
        return (0,)

    def cuMemAllocHost(self, size: int) -> tuple[int, int]:  # noqa: N802
        STREAM.no_recording("memory of the host is allocated")
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        self.free -= size
        return 0, ctypes.addressof(block)

    cuMemFreeHost = cuMemFree  # noqa: N815

    def cuMemGetInfo(self) -> tuple[int, int, int]:  # noqa: N802
        return 0, self.free, self.total

    def cuMemsetD8(self, pointer: int, value: int, size: int) -> tuple[int]:  # noqa: N802
        STREAM.no_recording("memory is set")
        self._check(pointer, size)
        ctypes.memset(pointer, value, size)
        return (0,)

    def cuMemcpyHtoD(self, target: int, source: int, size: int) -> tuple[int]:  # noqa: N802
        STREAM.no_recording("a copy is waited for")
        self._check(target, size)
        ctypes.memmove(target, source, size)
        return (0,)

    def cuMemcpyDtoH(self, target: int, source: int, size: int) -> tuple[int]:  # noqa: N802
        STREAM.no_recording("a copy is waited for")
        self._check(source, size)
        ctypes.memmove(target, source, size)
        return (0,)

    def cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple[int]:  # noqa: N802
        def copy() -> None:
            self._check(source, size)  # page-locked
            self._check(target, size)
            ctypes.memmove(target, source, size)

        STREAM.start(copy)
        return (0,)

    cuMemcpyDtoHAsync = cuMemcpyHtoDAsync  # noqa: N815 - the host's side is page-locked there too

    def cuMemcpy3DAsync(self, copy: Any, stream: int) -> tuple[int]:  # noqa: N802
        def rows() -> None:
            for block in range(copy.Depth):
                for row in range(copy.Height):
                    source = int(copy.srcDevice) + (block * copy.srcHeight + row) * copy.srcPitch
                    target = int(copy.dstDevice) + (block * copy.dstHeight + row) * copy.dstPitch
                    self._check(source, copy.WidthInBytes)
                    self._check(target, copy.WidthInBytes)
                    ctypes.memmove(target, source, copy.WidthInBytes)

        STREAM.start(rows)
        return (0,)

    def cuStreamBeginCapture(self, stream: int, mode: Any) -> tuple[int]:  # noqa: N802
        STREAM.no_recording("recording begins again")
        STREAM.recorded = []
        return (0,)

    def cuStreamEndCapture(self, stream: int) -> tuple[int, int]:  # noqa: N802
        if STREAM.recorded is None:
            pytest.fail("a recording ends that did not begin")
        handle = next(self._handles)
        self.graphs[handle], STREAM.recorded = STREAM.recorded, None
        return 0, handle

    def cuGraphInstantiate(self, graph: int, flags: int) -> tuple[int, int]:  # noqa: N802
        STREAM.no_recording("a graph is made ready")
        handle = next(self._handles)
        self.executables[handle] = list(self.graphs[graph])
        return 0, handle

    def cuGraphLaunch(self, executable: int, stream: int) -> tuple[int]:  # noqa: N802
        STREAM.no_recording("a graph is launched")
        if executable not in self.executables:
            pytest.fail("a graph is launched that is not there, or not any more")
        self.launches += 1
        for work in self.executables[executable]:
            work()
        return (0,)

    def cuGraphDestroy(self, graph: int) -> tuple[int]:  # noqa: N802
        if self.graphs.pop(graph, None) is None:
            pytest.fail("a graph is destroyed that is not there, or not any more")
        return (0,)

    def cuGraphExecDestroy(self, executable: int) -> tuple[int]:  # noqa: N802
        if self.executables.pop(executable, None) is None:
            pytest.fail("a graph is destroyed that is not there, or not any more")
        return (0,)

    def _check(self, address: int, size: int) -> None:
        """Every access lies within one allocation."""
        assert any(a <= address and address + size <= a + len(b) for a, b in self.blocks.items())


class FakeDevice:
    """A `c2t.kernels.cuda.device.CudaDevice` whose kernels are their definitions."""

    number, name, arch, handle = 0, "no GPU", "sm_00", 0
    shared_bytes, multiprocessors = 100_000, 4

    def exclusive(self) -> AbstractContextManager[None]:
        """One thread is all there is."""
        return nullcontext()

    def synchronize(self) -> None:
        """Nothing is ever under way."""
        STREAM.no_recording("the stream is waited for")

    def launch(
        self, source: str, kernel: str, grid: tuple[int, int], arguments: tuple, **defines: int
    ) -> None:
        self._load(source, defines)
        STREAM.start(lambda: getattr(self, f"_{kernel}")(grid[0], defines, *arguments))

    def _load(self, source: str, defines: dict[str, int]) -> None:
        """A kernel is loaded at its first start."""
        loaded = vars(self).setdefault("loaded", set())  # subclasses have constructors of their own
        key = (source, *sorted(defines.items()))
        if key not in loaded:
            STREAM.no_recording(f"{source} is loaded")
            loaded.add(key)

    def _token_rows(self, rows, defines, ids, table, scale, given, out, vocabulary, width):
        storage, dtype = NAMES[defines["C2T_TABLE"]], NAMES[defines["C2T_OUT"]]
        at(out, (rows, width), dtype)[:] = token_rows_reference(
            at(ids, (rows,), "int32"),
            at(table, (vocabulary, width), storage),
            at(scale, (vocabulary,), "float32") if scale else None,
            at(given, (rows, width), "float32") if given else None,
            dtype,
        )

    def _embed_genes(
        self,
        rows,
        defines,
        tokens,
        lengths,
        word,
        position,
        word_scale,
        position_scale,
        token_type,
        gamma,
        beta,
        out,
        cells,
        ranks,
        stride,
        epsilon,
        scale,
    ):
        width, storage = defines["C2T_HIDDEN_SIZE"], NAMES[defines["C2T_TABLE"]]
        positions, vocabulary = int(ranks), 1 + int(at(tokens, (cells, stride), "int32").max())
        tables = GeneEmbeddingTables(
            word=at(word, (vocabulary, width), storage),
            position=at(position, (positions, width), storage),
            token_type=at(token_type, (width,), "float32") if token_type else None,
            gamma=at(gamma, (width,), "float32"),
            beta=at(beta, (width,), "float32"),
            word_scale=at(word_scale, (vocabulary,), "float32") if word_scale else None,
            position_scale=at(position_scale, (positions,), "float32") if position_scale else None,
            epsilon=float(epsilon),
        )
        dtype = NAMES[defines["C2T_OUT"]]
        embed_genes_reference(
            at(tokens, (cells, stride), "int32")[:, :ranks],
            at(lengths, (cells,), "int32"),
            tables,
            at(out, (cells, ranks, width), dtype),
            out_scale=float(scale) if dtype == "int8" else None,
        )

    def _choose_tokens(
        self,
        blocks,
        defines,
        logits,
        banned,
        scratch,
        tokens,
        probability,
        finite,
        vocabulary,
        bans,
    ):
        pieces = choice_pieces(int(vocabulary))
        rows, width = blocks // pieces, (pieces + 1) * PARTIAL_CHOICE_BYTES // 4
        words = at(scratch, (rows, width), "int32")
        assert not words[:, -1].any(), "the counts of ended blocks were not zeroed"
        words[:, :-4] = 0x2B  # what blocks find lies here
        dtype = NAMES[defines["C2T_LOGITS"]]
        ban = at(banned, (rows, bans), "int32") if bans else np.empty((rows, 0), np.int32)
        found = choose_tokens_reference(at(logits, (rows, vocabulary), dtype), ban)
        for address, kind, values in zip(
            (tokens, probability, finite), ("int32", "float32", "int32"), found, strict=True
        ):
            at(address, (rows,), kind)[:] = values


class FakeGraph:
    """A `c2t.runtime.engines.gpu.graph.DeviceGraph` on ONNX Runtime's CPU provider.

    Args:
        path: The graph.
        recordable: Whether its runs may be recorded with what is around them.
    """

    max_bit_exact_rows: int | None = None
    batch_tokens = 0

    def __init__(self, path: Path, *, recordable: bool = False) -> None:
        self.recordable = recordable
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
        names = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}
        values = (*self.session.get_inputs(), *self.session.get_outputs())
        self.dtypes = {value.name: names[value.type] for value in values}

        self.cache_capacity: int | None = None

    def bind(self, tensors: Mapping[str, DeviceTensor], *, repeated: bool) -> FakeBoundGraph:
        binding = self.session.io_binding()
        for value in self.session.get_inputs():
            t = tensors[value.name]
            kind = STORAGE[t.dtype].type
            binding.bind_input(value.name, "cpu", 0, kind, list(t.shape), t.address)
        for value in self.session.get_outputs():
            t = tensors[value.name]
            kind = STORAGE[t.dtype].type
            binding.bind_output(value.name, "cpu", 0, kind, list(t.shape), t.address)
        return FakeBoundGraph(self.session, binding, recordable=self.recordable)


class FakeBoundGraph:
    """A `c2t.runtime.engines.gpu.graph.BoundGraph`."""

    last_logit_rows = False

    def __init__(self, session: Any, binding: Any, *, recordable: bool = False) -> None:
        self.session, self.binding, self.closed = session, binding, False
        self.recordable = recordable

    def enqueue(self) -> None:
        assert not self.closed
        if not self.recordable:
            STREAM.no_recording("a graph runs that cannot be recorded")
        STREAM.start(lambda: self.session.run_with_iobinding(self.binding))

    def close(self) -> None:
        self.closed = True


def at(address: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The array at an address."""
    shape = tuple(int(n) for n in shape)
    count = int(np.prod(shape))
    memory = (ctypes.c_uint8 * (count * np.dtype(dtype).itemsize)).from_address(int(address))
    return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
